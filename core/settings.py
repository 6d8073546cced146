"""What a run is asked for and how far it is, as plain data that the app reads without torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
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
    map_type : float16 or float32, the type in which activations are recorded.
    device, precision : where and how the network runs.
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
    map_type: str = "float16"
    device: str = "cpu"
    precision: str = "float32"
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


class Progress(NamedTuple):
    """How far long work is. `left` is seconds, or None while it cannot be told; `of` is what
    is counted."""

    stage: str
    done: int
    total: int
    rate: float
    left: float | None
    of: str = "images"

    def __str__(self) -> str:
        left = "" if self.left is None else f", {duration(self.left)} left"
        rate = f"{self.rate:.0f}" if self.rate >= 10 else f"{self.rate:.2g}"
        return f"{self.stage} {self.done}/{self.total} {self.of}, {rate}/s{left}"


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
