"""Networks that are edited in the tests, and plain hooks to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.ablation.edits import Edit
from core.ablation.images import images_of
from core.datasets import open_dataset
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.explain.photo import open_model
from core.foundation.settings import Settings
from core.knowledge.graph import Graph
from core.models.forward import Forward
from core.models.head import CLOSE
from core.runs.run_file import Run
from tests import tiny


def seen_photos(run: Run) -> np.ndarray:
    """What the network saw of every image, read from the dataset."""
    way = open_model(run).preprocessing
    dataset = open_dataset(run.info["settings"]["dataset"]["spec"])
    ids = images_of(run)["id"]
    return np.stack([np.asarray(way.view(dataset.photo(dataset.ids.index(k)))) for k in ids])


def hooked_logits(run: Run, layer: str, edits, rounded: bool) -> np.ndarray:
    """The whole network with a plain hook that changes the units of `layer`, after rounding its
    output to half precision where asked."""
    model = open_model(run)

    def hook(_module, _args, output):
        changed = output.half().float() if rounded else output.clone()
        for edit in edits:
            for unit in edit.units:
                value = edit.factor * changed[:, unit] if edit.clamp is None else edit.clamp
                changed[:, unit] = value
        return changed

    handle = dict(model.module.named_modules())[layer].register_forward_hook(hook)
    try:
        with torch.inference_mode():
            inputs = Forward(model, [layer]).inputs(seen_photos(run))
            return model.module(inputs).flatten(1).numpy()
    finally:
        handle.remove()


def same_predictions(a: np.ndarray, b: np.ndarray) -> None:
    """argmax agrees wherever the two largest of b are not a tie to rounding."""
    top = np.sort(b, axis=1)
    sure = top[:, -1] - top[:, -2] > 2 * CLOSE * max(1.0, np.abs(b).max())
    assert (a.argmax(1) == b.argmax(1))[sure].all() and sure.mean() > 0.9


class Inner(nn.Module):
    """A network whose layers need every way: a plain chain, a skip, a branch by value."""

    def __init__(self, branch: bool = False):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.inside = nn.Conv2d(8, 8, 3, 1, 1)
        self.second = nn.Conv2d(8, 10, 3, 2, 1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(360, 16), nn.ReLU(), nn.Linear(16, 3))
        self.branch = branch

    def forward(self, x):
        x = self.first(x)
        x = torch.relu(self.inside(x)) + x
        x = torch.relu(self.second(x))
        if self.branch and float(x.sum()) < -1e9:
            x = x + 1
        return self.head(x)


def inner() -> tuple[nn.Module, dict]:
    """The ``python:`` function."""
    return Inner(), {**tiny.net()[1], "default_layer": "second"}


def branching() -> tuple[nn.Module, dict]:
    """The same with a forward pass that cannot be traced."""
    return Inner(True), {**tiny.net()[1], "default_layer": "second"}


def photo_run(tmp_path: Path, spec: str, layers: tuple[str, ...], images: int = 24, **more) -> Run:
    """A run on losslessly compressible photos: stored photos differ from the seen ones by JPEG."""
    folder = tiny.write_folder(tmp_path / "photos", images)
    request = Settings(f"folder:{folder}", spec, layers=layers, q=0.05, shuffles=0, **more)
    return execute(plan(request), tmp_path / "runs", threads=1)


EDITS = [Edit((0, 2, 5)), Edit((1,), 0.5), Edit((3,), clamp=0.25)]


class Rectified(nn.Module):
    """A linear layer that reads what `behind` leaves of the means of a layer's maps."""

    def __init__(self, behind):
        super().__init__()
        torch.manual_seed(5)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 2, 1),
            nn.ReLU(),
        )
        self.head, self.behind = nn.Linear(12, 3), behind

    def forward(self, x):
        return self.head(self.behind(self.body(x).mean((2, 3))))


def rectified() -> tuple[nn.Module, dict]:
    """The ``python:`` function: nothing is seen of the ReLU while means are positive."""
    return Rectified(torch.relu), {**tiny.net()[1], "default_layer": "body"}


def clipped() -> tuple[nn.Module, dict]:
    """The same with a bound far above what the maps reach."""
    return Rectified(lambda x: x.clamp(max=100.0)), {**tiny.net()[1], "default_layer": "body"}


class ByBatch(nn.Module):
    """Batch norms before and behind the layer; `how` makes them normalise by the batch."""

    def __init__(self, how: str):
        super().__init__()
        torch.manual_seed(4)
        running = how != "untracked"
        self.how = how
        self.first = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, track_running_stats=running), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12, track_running_stats=running), nn.ReLU()
        )
        self.head = nn.Linear(12, 3)

    def train(self, mode=True):
        super().train(mode or self.how == "training")
        return self

    def forward(self, x):
        x = self.second(self.first(x))
        if self.how == "function":
            x = nn.functional.batch_norm(x, None, None, training=True)
        return self.head(x.mean((2, 3)))


def untracked() -> tuple[nn.Module, dict]:
    """The ``python:`` function: no running statistics."""
    return ByBatch("untracked"), {**tiny.net()[1], "default_layer": "first"}


def training() -> tuple[nn.Module, dict]:
    """The same, its batch norms in training mode whatever they are told."""
    return ByBatch("training"), {**tiny.net()[1], "default_layer": "first"}


def function() -> tuple[nn.Module, dict]:
    """The same, by a function that no module shows."""
    return ByBatch("function"), {**tiny.net()[1], "default_layer": "first"}


def in_batches(run: Run, layer: str, edit: Edit | None) -> np.ndarray:
    """Logits by a plain hook, in batches of 32 in the dataset's order."""
    model = open_model(run)

    def hook(_module, _args, output):
        changed = output.clone()
        for unit in edit.units if edit else ():
            changed[:, unit] = edit.factor * changed[:, unit]
        return changed

    handle = dict(model.module.named_modules())[layer].register_forward_hook(hook)
    inputs = Forward(model, [layer]).inputs(seen_photos(run))
    try:
        with torch.inference_mode():
            return np.concatenate([model.module(part).numpy() for part in inputs.split(32)])
    finally:
        handle.remove()


def tiny_graph():
    """Facts of the tiny folder's concepts."""
    facts = [
        ("thing 1", "attic"),
        ("thing 2", "attic"),
        ("piece 6", "attic"),
        ("thing 1", "barn"),
        ("piece 7", "barn"),
        ("thing 4", "cellar"),
    ]
    return Graph.from_edges([("AtLocation", a, b, 1.0) for a, b in facts])
