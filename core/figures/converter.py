"""Vega-Lite → SVG, PDF or PNG in a process of its own, which may die without taking anything along.

vl-convert ends the process that calls it where a chart is more than it can draw: no exception can
be caught. So this file, run as a script, is a worker: it reads requests from standard input and
writes files to standard output. :func:`convert` starts one and starts another where it died.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from typing import Any

PATIENCE = 60.0
"""Seconds a chart may take."""

_HEAD = struct.Struct("<?Q")
"""Of an answer: whether it went well, and how many bytes follow (the file, or why not)."""


class ConversionError(Exception):
    """A chart that could not be drawn; says why."""


class _Worker:
    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def convert(self, spec: dict[str, Any], kind: str) -> bytes:
        request = json.dumps({"kind": kind, "spec": spec}).encode()
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                # -I: neither the environment nor the current folder decides what is imported.
                process = self._process = subprocess.Popen(
                    [sys.executable, "-I", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            try:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(struct.pack("<Q", len(request)) + request)
                process.stdin.flush()
                until = time.monotonic() + PATIENCE
                good, size = _HEAD.unpack(self._read(process.stdout.fileno(), _HEAD.size, until))
                made = self._read(process.stdout.fileno(), size, until)
            except (OSError, ConversionError) as err:
                self.close()
                why = str(err) if isinstance(err, ConversionError) else "the converter ended"
                raise ConversionError(why) from err
        if not good:
            raise ConversionError(made.decode(errors="replace"))
        return made

    def _read(self, pipe: int, size: int, until: float) -> bytes:
        parts: list[bytes] = []
        while size:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise ConversionError(f"it took more than {PATIENCE:.0f} s")
            part = os.read(pipe, min(size, 1 << 20))
            if not part:
                raise ConversionError("the converter ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        continue  # what was not sent is of no use


_worker = _Worker()
atexit.register(_worker.close)


def convert(spec: dict[str, Any], kind: str) -> bytes:
    """A Vega-Lite specification as the bytes of an ``svg``, ``pdf`` or ``png`` file (200 dpi).

    Raises ConversionError where vl-convert cannot draw it, ends, or takes over a minute.
    """
    return _worker.convert(spec, kind)


def _serve() -> None:
    """Answer requests until standard input ends."""
    import vl_convert

    # Answers alone go to the pipe: whatever else prints goes nowhere.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while head := sys.stdin.buffer.read(8):
        request = json.loads(sys.stdin.buffer.read(struct.unpack("<Q", head)[0]))
        spec = request["spec"]
        try:
            if request["kind"] == "svg":
                good, made = True, vl_convert.vegalite_to_svg(spec).encode()
            elif request["kind"] == "pdf":
                good, made = True, vl_convert.vegalite_to_pdf(spec)
            else:
                good, made = True, vl_convert.vegalite_to_png(spec, ppi=200, scale=1)
        except Exception as err:  # the caller says what it was
            good, made = False, str(err).encode()
        out.write(_HEAD.pack(good, len(made)) + made)
        out.flush()


if __name__ == "__main__":
    _serve()
