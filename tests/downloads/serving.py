"""A server on 127.0.0.1 that is slow, cuts, lies and changes its mind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import numpy as np

DATA = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()


MD5 = "md5:" + hashlib.md5(DATA, usedforsecurity=False).hexdigest()


class Site(SimpleNamespace):
    """What the server offers and how it behaves, and the requests that it has seen."""

    url: str
    files: dict[str, bytes]
    etag: str
    ranges: bool
    before: list[Callable[[BaseHTTPRequestHandler], bool]]
    seen: list[tuple[str, str | None, str | None]]


def cut_at(count: int, body: bytes = DATA, etag: str = '"one"') -> Callable:
    """The connection breaks after `count` bytes of what was announced."""

    def answer(handler) -> bool:
        wanted = handler.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        handler.send_response(206 if wanted else 200)
        if wanted:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if etag:
            handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start : start + count])
        return True

    return answer


def code(number: int, **headers: str) -> Callable:
    """An answer without content."""

    def answer(handler) -> bool:
        handler.send_response(number)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return answer


class Waits(list):
    """Stands for time.sleep: keeps what was asked for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
