"""What a run is asked for and how far it is, as plain data that the app reads without torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Settings:
    """All that decides the numbers of a run.

    Attributes
    ----------
    dataset, model : their SPECs.
    layers : dotted names; empty = the network's default layer.
    splits : splits of the dataset to dissect; empty = all images.
    q : T_t is the (1 − q) quantile of unit t's activations.
    grid : side of the working grid in pixels; None = half the input's side.
    shuffles : rounds of shuffled labels for the null distribution.
    seed : of the shuffles.
    keep_maps : keep activation maps beside the run; otherwise the network runs twice.
    map_type : float16 or float32, the type in which activations are recorded; "auto" takes
        float16 unless that would move the logits of a replay by more than is promised.
    device, precision : where and how the network runs.
    scenes : a table that says which class a scene is, where names alone do not tell; see
        :mod:`core.datasets.scenes`. What it says is part of the digest, not where it lies.
    knowledge : the graph that explanations of this run use unless told otherwise. It changes
        no number of the run, and is not part of its digest.
    """

    dataset: str
    model: str
    layers: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    q: float = 0.005
    grid: int | None = None
    shuffles: int = 10
    seed: int = 0
    keep_maps: bool = True
    map_type: str = "auto"
    device: str = "cpu"
    precision: str = "float32"
    scenes: str | None = None
    knowledge: str = "builtin"


def command(request: Mapping[str, Any]) -> str:
    """The command line that asks for the settings in `request` (a dict of :class:`Settings`).

    Only what differs from the defaults is named.

    >>> command({"dataset": "rooms", "model": "rooms", "q": 0.01, "keep_maps": False})
    'python -m core run --dataset rooms --model rooms --q 0.01 --no-maps'
    """
    parts = ["python", "-m", "core", "run"]
    for option in fields(Settings):
        value = request.get(option.name, option.default)
        flag = "--" + {"layers": "layer", "splits": "split"}.get(option.name, option.name)
        if option.name == "keep_maps":
            parts += [] if value else ["--no-maps"]
        elif isinstance(value, (list, tuple)):
            parts += [part for item in value for part in (flag, str(item))]
        elif value != option.default:
            parts += [flag.replace("_", "-"), str(value)]
    return shlex.join(parts)


def quantile_words(q: float) -> str:
    """The quantile (1 − q) to the last digit that q was written with.

    >>> quantile_words(0.005), quantile_words(1e-6), quantile_words(0.5)
    ('99.5%', '99.9999%', '50%')
    """
    return f"{(1 - Decimal(repr(float(q)))) * 100:f}".rstrip("0").rstrip(".") + "%"


class Progress(NamedTuple):
    """How far long work is. `left` is seconds, or None while it cannot be told; `of` is what
    is counted; `total` is 0 where nobody knows it."""

    stage: str
    done: int
    total: int
    rate: float
    left: float | None
    of: str = "images"

    def __str__(self) -> str:
        left = "" if self.left is None else f", {duration(self.left)} left"
        rate = f"{self.rate:.0f}" if self.rate >= 10 else f"{self.rate:.2g}"
        return f"{self.stage} {self.done}/{self.total or '?'} {self.of}, {rate}/s{left}"


def duration(seconds: float) -> str:
    """A span of time in words.

    >>> duration(59.7), duration(3725)
    ('1 min 0 s', '1 h 2 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclass(frozen=True)
class Retraining:
    """All that decides the numbers of a re-training via core concepts (Eq. 10).

    Attributes
    ----------
    dataset, model : SPECs; training starts from the model's weights.
    cc : kinds of golden concepts, of :data:`GOLDEN`.
    weights : the values of λ tried with each; the control (λ = 0) is always trained beside them.
    form : ``softmax`` (Eq. 10 as written) or ``sigmoid`` (each concept a yes or no).
    seeds : how often everything is trained, with other batches and another concept head.
    epochs, batch, rate, decay : the budget; AdamW, one half cosine after a short warm-up.
    patience : epochs without a better validation accuracy after which training ends.
    side : shorter side of the network's input in pixels; its own where None.
    since : dotted name of the first layer that is trained; those listed before it keep their
        weights and their batch statistics. All are trained where None.
    train, test : splits; `hold_out` of the train split is kept for validation.
    core_on : images whose annotations core concepts are made from: ``train``, or ``all``, which
        lets the test photos' annotations in.
    knowledge, overrides : the graph, and the user's own alignment with it.
    head : ``own`` classifier, or a ``new`` one for the dataset's scenes; ``auto`` takes the own
        one where it has a class for every scene of the train split.
    seed : the first seed, and that of the validation part.
    threads : of PyTorch; sums come out in another order with another number.
    """

    dataset: str
    model: str
    cc: tuple[str, ...] = ("scc", "icc")
    weights: tuple[float, ...] = (0.1, 0.3, 1.0)
    form: str = "softmax"
    seeds: int = 3
    epochs: int = 8
    batch: int = 32
    rate: float = 3e-4
    decay: float = 0.01
    patience: int = 4
    side: int | None = None
    since: str | None = None
    train: str = "train"
    test: str = "test"
    hold_out: float = 0.2
    core_on: str = "train"
    knowledge: str = "builtin"
    overrides: str | None = None
    head: str = "auto"
    seed: int = 0
    threads: int = 1

    def command(self) -> str:
        """The command line that asks for this; only what differs from the defaults is named.

        >>> Retraining("rooms", "rooms", weights=(1.0,)).command()
        'python -m core retrain cc --dataset rooms --model rooms --lambda 1.0'
        """
        parts = ["python", "-m", "core", "retrain", "cc"]
        for option in fields(self):
            value = getattr(self, option.name)
            if value == option.default:
                continue
            flag = {"weights": "lambda"}.get(option.name, option.name.replace("_", "-"))
            told = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            parts += [f"--{flag}", told]
        return shlex.join(parts)


GOLDEN = {
    "scc": "annotated in the photo and in SCC of its scene",
    "icc": "annotated in the photo and in ICC of its scene",
    "top10": "annotated in the photo and among the ten most frequent of its scene",
    "annotated": "all that is annotated in the photo: the masks without the knowledge graph",
}
"""What c* of Eq. 10 may be, with what it means; the last two are controls of the knowledge."""
