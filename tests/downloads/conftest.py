"""The server of the tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.downloads.serving import DATA, Site


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    """A server of static files with ranges. Each of `before` handles one request; it is used up,
    and where it gives True the request is answered by it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    it = Site(files={"/a.bin": DATA}, etag='"one"', ranges=True, before=[], seen=[], cut={})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            it.seen.append((self.path, wanted, self.headers.get("If-Range")))
            if it.before and it.before.pop(0)(self):
                self.close_connection = True
                return
            body = it.files.get(self.path.partition("?")[0])
            if body is None:
                self.send_error(404)
                return
            start = 0
            fits = self.headers.get("If-Range") in (None, it.etag)
            if wanted and it.ranges and fits:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            if it.etag:
                self.send_header("ETag", it.etag)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start:])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    it.url = f"http://127.0.0.1:{server.server_port}"
    yield it
    server.shutdown()
    thread.join()
    server.server_close()
