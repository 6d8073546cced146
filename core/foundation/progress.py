"""Progress of long work, requests to stop it, and heartbeats for other processes.

One protocol for everything that takes more than a moment. A function takes

* ``progress``, called with a :class:`Progress` now and then;
* ``stop``, asked now and then; where it says True, :class:`Stopped` is raised, and what was
  finished is kept: the same call resumes it.

:class:`Meter` does the counting. Given a file, it leaves a *heartbeat* there, which the app reads
(:meth:`Heartbeat.read`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from core.foundation.errors import UnitscopeError
from core.foundation.files import write_text
from core.foundation.plain import Json

EVERY = 0.5
"""Seconds between two heartbeats."""

STOPPED = "stopped; the same command resumes it"


class Stopped(UnitscopeError):
    """The work was asked to stop; what it had finished is kept."""


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
class Progress:
    """How far long work is; `str()` is a line for a terminal.

    done, total : of what is counted; total is 0 where it is unknown. rate : done a second.
    left : seconds, None while it is unknown. of : what is counted.
    """

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


@dataclass(frozen=True)
class Heartbeat:
    """What long work left for other processes to see (:class:`Meter`).

    Attributes
    ----------
    stage, done, total, rate, left : of :class:`Progress`. time : when, in seconds since 1970.
    pid : the process that did the work.
    dataset, model, layers : of a run. request : its settings. what, command : of a re-training, in
        words and as the command line that resumes it.
    """

    stage: str = ""
    done: int = 0
    total: int = 0
    rate: float = 0.0
    left: float | None = None
    time: float = 0.0
    pid: int | None = None
    dataset: str = ""
    model: str = ""
    layers: tuple[str, ...] = ()
    request: Mapping[str, Any] | None = None
    what: str = ""
    command: str = ""

    @classmethod
    def read(cls, path: Path) -> Heartbeat | None:
        """As the work wrote it; None where there is none yet, or it is damaged."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or not record:
            return None
        held: Json = {}
        for field in fields(cls):
            value = record.get(field.name)
            if value is None:
                continue
            if not isinstance(value, _KINDS[field.name]):
                return None
            held[field.name] = value
        return cls(**{**held, "layers": tuple(held.get("layers", ()))})

    def to_json(self) -> Json:
        """What it says, without what it does not."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "", ())}


_NUMBER = (int, float)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "stage": str,
    "done": int,
    "total": int,
    "rate": _NUMBER,
    "left": _NUMBER,
    "time": _NUMBER,
    "pid": int,
    "dataset": str,
    "model": str,
    "layers": list,
    "request": dict,
    "what": str,
    "command": str,
}


def of_bytes(stage: str, done: int, total: int, fresh: int, began: float) -> Progress:
    """How far bytes are that were begun at :func:`time.monotonic` `began`, in kB or MB.

    total : 0 where it is unknown. fresh : of the `done`, those since `began`.
    """
    unit, of = (1e6, "MB") if (total or done) >= 10e6 else (1e3, "kB")
    rate = fresh / max(time.monotonic() - began, 1e-6)
    left = (total - done) / rate if total and rate else None
    whole = int(-(-total // unit))
    return Progress(
        stage, whole if done == total else int(done // unit), whole, rate / unit, left, of
    )


Report = Callable[[Progress], object]
"""What long work calls with its :class:`Progress`."""

Stop = Callable[[], bool]
"""What long work asks whether to stop."""


def silent(_: object) -> None:
    """A :data:`Report` that drops it."""


def never() -> bool:
    """A :data:`Stop` that never asks for it."""
    return False


class Hooks(TypedDict, total=False):
    """Both, as they are handed on: ``def f(..., **hooks: Unpack[Hooks])``."""

    progress: Report | None
    stop: Stop


class Meter:
    """Counts what is done, calls `progress`, and leaves a heartbeat.

    progress : called at every step. beat : the heartbeat's file, None = none is left. facts :
    further entries of it, such as the command line that resumes the work.

    The file is JSON: the fields of :class:`Progress`, pid, time (seconds since 1970), `facts`.

    >>> seen = []
    >>> meter = Meter(seen.append)
    >>> meter.start("reading", 3, of="files")
    >>> meter.step()
    >>> [(p.done, p.total, p.of) for p in seen]
    [(0, 3, 'files'), (1, 3, 'files')]
    """

    def __init__(
        self,
        progress: Report | None = None,
        beat: Path | None = None,
        facts: Mapping[str, Any] | None = None,
    ):
        self.progress, self.beat, self.facts = progress, beat, facts or {}
        self._last = 0.0
        self.start("", 0)

    def start(self, stage: str, total: int, done: int = 0, of: str = "images") -> None:
        """Begin a stage of `total`, of which `done` were finished before."""
        self.stage, self.total, self.done, self.of = stage, total, done, of
        self._before, self._began = done, time.monotonic()
        if stage:
            self.step(0)

    def skip(self, count: int) -> None:
        """So many need no work: they were done before, or the work ended early."""
        self._before += count
        self.step(count)

    def step(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        now = self.now()
        if self.progress:
            self.progress(now)
        if self.beat is not None and (
            time.monotonic() - self._last > EVERY or self.done == self.total
        ):
            self._last = time.monotonic()
            beat = {**asdict(now), "pid": os.getpid(), "time": time.time(), **self.facts}
            write_text(self.beat, json.dumps(beat))

    def now(self) -> Progress:
        """How far it is: the rate is of what was done since the stage began."""
        passed, fresh = time.monotonic() - self._began, self.done - self._before
        rate = fresh / passed if fresh and passed > 0 else 0.0
        left = (self.total - self.done) / rate if rate and self.total else None
        return Progress(self.stage, self.done, self.total, rate, left, self.of)
