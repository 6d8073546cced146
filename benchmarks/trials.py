"""What the trials of :mod:`benchmarks.reliability` share: work in a child process, mutated bytes,
and a list of inputs to try."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def forked(
    do: Callable[[], Any], limit: float = 300.0, after: float | None = None
) -> tuple[int, Any]:
    """`do()` in a child: (its exit status, −n for signal n; what it gave, by JSON).

    after : kill it after so many seconds.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            gave = do()
            with os.fdopen(write, "w") as out:
                json.dump(gave, out)
            status = 0
        except BaseException as err:  # told to the parent, whatever it was
            with contextlib.suppress(OSError, ValueError):
                os.write(write, json.dumps(f"{type(err).__name__}: {err}").encode())
        finally:
            os._exit(status)
    os.close(write)
    end = time.monotonic() + (limit if after is None else after)
    timer = threading.Timer(max(0.0, end - time.monotonic()), _kill, [pid])
    timer.start()
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, code = os.waitpid(pid, 0)
    timer.cancel()
    status = -os.WTERMSIG(code) if os.WIFSIGNALED(code) else os.WEXITSTATUS(code)
    try:
        return status, json.loads(said) if said else None
    except ValueError:
        return status, None


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def said_by(arguments: list[str]) -> tuple[int, str]:
    """(exit status, standard error) of a verb, run in this process; status 2 for argparse."""
    from core.cli import main

    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return status, err.getvalue()


def verb(*arguments: str) -> Callable[[], None]:
    """A verb that must go well."""

    def do() -> None:
        status, err = said_by(list(arguments))
        if status:
            raise RuntimeError(err.strip().splitlines()[-1] if err.strip() else str(status))

    return do


NUMBERS = (b"-1", b"0", b"1e999", b"999999999999999999999", b"NaN", b"0x10", b"2147483648", b"1.0")
TEXTS = (
    b"\x00",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"[" * 3000,
    b"{" * 3000,
    b'"' * 50,
    b"=cmd()",
    b"../../../etc/passwd",
    b"/etc/passwd",
    b"," * 5000,
    b"\r",
    b"\n\n\n",
    "\u202eé\u0301".encode(),
    b"x" * 200_000,
    b"null",
    b"true",
)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A file with one to three things changed."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(8)
        at = rng.randrange(len(out) + 1)
        if kind == 0 and out:
            for _ in range(rng.randint(1, 8)):
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at:at] = rng.choice(TEXTS)
        elif kind == 3:
            end = min(len(out), at + rng.randint(1, 64))
            del out[at:end]
        elif kind == 4 and out:
            end = min(len(out), at + rng.randint(1, 4000))
            out[rng.randrange(len(out)) : 0] = out[at:end]
        elif kind == 5:
            numbers = [k for k, byte in enumerate(out[:20_000]) if 48 <= byte <= 57]
            if numbers:
                k = rng.choice(numbers)
                out[k : k + 1] = rng.choice(NUMBERS)
        elif kind == 6 and len(out) >= 8:
            at = rng.randrange(len(out) - 7)
            out[at : at + 8] = struct.pack("<q", rng.choice((-1, 2**31 - 1, 2**62, 0, 65_536)))
        else:
            out = bytearray(rng.choice(TEXTS) if rng.random() < 0.2 else bytes(out[::-1]))
    return bytes(out)


Trial = Callable[[random.Random], tuple[int, str]]
"""Does something strange; gives an exit status as of a verb, and what was said."""


class Inputs:
    """Good small inputs of everything that reads something, and what reads them."""

    def __init__(self, base: Path, only: Sequence[str] = ()):
        self.base, self.only = base, tuple(only) or ("",)
        self.trials: dict[str, Trial] = {}

    def add(self, name: str, folder: Path, command: Callable[[Path], list[str]]) -> None:
        """A folder with a good input, and the command line that reads a copy of it."""
        if not name.startswith(self.only):
            return
        here = self.base / "try"

        def trial(rng: random.Random) -> tuple[int, str]:
            shutil.rmtree(here, ignore_errors=True)
            shutil.copytree(folder, here)
            target = rng.choice(sorted(p for p in here.rglob("*") if p.is_file()))
            if rng.random() < 0.05:
                target.unlink()
            else:
                target.write_bytes(mutate(target.read_bytes(), rng))
            return said_by(command(here))

        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(folder, here)
        _, said = forked(lambda: said_by(command(here)))
        if not isinstance(said, list) or said[0] != 0:
            raise RuntimeError(f"{name}: the good input itself is refused: {said}")
        self.trials[name] = trial

    def add_trial(self, name: str, trial: Trial) -> None:
        """Something else that is tried with random numbers."""
        if name.startswith(self.only):
            self.trials[name] = trial
