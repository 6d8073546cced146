"""Work in a separate process, whose crash does not affect this one.

Some libraries end the process that calls them, and no exception can be caught: vl-convert at
a chart that it cannot draw, SciPy at a damaged MATLAB file. So what calls them is a script with
a function ``answer(request)``, plain data to bytes, and may say in ``MEMORY`` how many bytes its
process may take. A :class:`Worker` runs it, and runs it anew where it ended.

This file, run as a script with the path of such a script, is the process: it reads requests from
standard input and writes answers to standard output. Standard library alone.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

_HEAD = struct.Struct("<?Q")
"""Of an answer: whether it went well, and how many bytes follow (the answer, or why not)."""

_SIZE = struct.Struct("<Q")


class WorkerError(Exception):
    """A request without an answer; says why."""


class Worker:
    """Answers of a script, one at a time.

    script : defines ``answer(request: dict) -> bytes``; what it raises is reported. name : what the
    process is called where it ended. patience : seconds that an answer may take.
    """

    def __init__(self, script: Path, name: str, patience: float):
        self._script, self._name, self._patience = script, name, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def ask(self, request: Mapping[str, object]) -> bytes:
        """The answer to a request of plain data.

        Raises WorkerError where the script raised, with its words; where the process ended; where
        it took too long.
        """
        asked = json.dumps(request).encode()
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                # -I: neither the environment nor the current folder decides what is imported.
                process = self._process = subprocess.Popen(
                    [sys.executable, "-I", __file__, str(self._script)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    # Nothing is computed there, and each thread of OpenBLAS takes memory.
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                )
            try:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(_SIZE.pack(len(asked)) + asked)
                process.stdin.flush()
                until = time.monotonic() + self._patience
                good, size = _HEAD.unpack(self._read(process.stdout.fileno(), _HEAD.size, until))
                made = self._read(process.stdout.fileno(), size, until)
            except (OSError, WorkerError) as err:
                self.close()
                why = str(err) if isinstance(err, WorkerError) else f"{self._name} ended"
                raise WorkerError(why) from err
            except BaseException:  # an answer that nobody read would be taken for the next one's
                self.close()
                raise
        if not good:
            raise WorkerError(made.decode(errors="replace"))
        return made

    def _read(self, pipe: int, size: int, until: float) -> bytes:
        parts: list[bytes] = []
        while size:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise WorkerError(f"it took more than {self._patience:.0f} s")
            part = os.read(pipe, min(size, 1 << 20))
            if not part:
                raise WorkerError(f"{self._name} ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """End the process, if there is one; the next request starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            _close_pipes(process)

    def _forget(self) -> None:
        """In a forked process: the parent's worker is not ours to speak with."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is not None:
            _close_pipes(process)
            process.returncode = 0  # nor to wait for


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # what was not sent is of no use


def _bound(memory: int | None) -> None:
    """Let this process take no more memory than that, where it is said, and leave no core file."""
    try:
        import resource

        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError):
        pass  # Windows has no such limits; a lower one than this holds already


def _serve(script: str) -> None:
    """Answer requests until standard input ends."""
    known = runpy.run_path(script)
    answer = known["answer"]
    _bound(known.get("MEMORY"))
    # Answers alone go to the pipe: whatever else prints goes nowhere.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while head := sys.stdin.buffer.read(_SIZE.size):
        request = json.loads(sys.stdin.buffer.read(_SIZE.unpack(head)[0]))
        try:
            good, made = True, answer(request)
        except Exception as err:  # the caller says what it was
            good, made = False, (str(err) or type(err).__name__).encode()
        out.write(_HEAD.pack(good, len(made)) + made)
        out.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
