"""How far a long manipulation is: told to whoever asked, and left for other processes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from core.foundation.errors import UnitscopeError
from core.foundation.settings import Progress
from core.runs.run_file import write_text

STOPPED = "stopped; the same command goes on from where it was"


class Stopped(UnitscopeError):
    """The work was asked to stop; what it had finished is kept."""


class Meter:
    """Counts images and leaves a heartbeat, ``progress.json``, in the work's private folder.

    The file holds stage, done, total, rate (images a second), left (seconds or null), pid, time
    (seconds since 1970), what (in words) and command (which goes on with the work).
    """

    def __init__(
        self, folder: Path, what: str, command: str, tell: Callable[[Progress], None] | None
    ):
        self.folder, self.what, self.command, self.tell = folder, what, command, tell
        self.last = 0.0

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` images."""
        self.stage, self.total, self.done, self.before = stage, total, 0, 0
        self.began = time.monotonic()
        self.step(0)

    def skip(self, images: int) -> None:
        """Images that need no work any more: training ended early, or was done before."""
        self.before += images
        self.step(images)

    def step(self, images: int) -> None:
        """So many more images are done."""
        self.done += images
        now = time.monotonic()
        fresh = self.done - self.before
        rate = fresh / (now - self.began) if fresh and now > self.began else 0.0
        left = (self.total - self.done) / rate if rate else None
        told = Progress(self.stage, self.done, self.total, rate, left)
        if self.tell:
            self.tell(told)
        if now - self.last > 0.5 or self.done == self.total:
            self.last = now
            beat = {
                **told._asdict(),
                "pid": os.getpid(),
                "time": time.time(),
                "what": self.what,
                "command": self.command,
            }
            write_text(self.folder / "progress.json", json.dumps(beat))
