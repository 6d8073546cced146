"""A web server that keeps files in memory and fails when it is told to: S3's protocol, as far as a
client needs it to list, read and write, and plain HTTP with ranges. For tests of
core.foundation.stores; it is no pattern for anything else."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "AKIATESTTESTTESTTEST", "secret/of+the/tests/never/to+be/printed0"


@dataclass
class Web:
    """What the server holds: files by path, "bucket/name" or the path of an address.

    cut : (path, place of the first byte) → how many bytes are sent before the connection is cut,
    None for all. pause : seconds between two blocks of 1000 bytes. asked : requests by method and
    path. key : what S3 requests have to be signed by. times : days of January of a file's last
    change. page : files on a page of a listing.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: Callable[[str, int], int | None] = lambda path, at: None
    status: Callable[[str, str], int] = lambda method, path: 0
    pause: float = 0.0
    ranges: bool = True
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    key: str = KEY
    times: dict[str, int] = field(default_factory=dict)
    page: int = 3
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    parts: dict[str, dict[int, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def ours(self) -> str | None:
            """The path, once the request is one that is answered."""
            path = unquote(urlsplit(self.path).path).strip("/")
            web.asked[self.command, path] += 1
            if "x-amz-date" in self.headers and web.key not in self.headers["Authorization"]:
                self.answer(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
                return None
            if status := web.status(self.command, path):
                self.answer(status)
                return None
            return path

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.ours()
            if path is None:
                return
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            if "list-type" in query:
                self.listing(path, query)
            elif path not in web.files:
                self.answer(404 if "/" in path or not self.is_s3() else 200)
            else:
                self.file(path)

        def is_s3(self) -> bool:
            return "x-amz-date" in self.headers

        def listing(self, bucket: str, query: dict[str, list[str]]) -> None:
            prefix, most = query.get("prefix", [""])[0], web.page
            after = query.get("continuation-token", [""])[0]
            divided = query.get("delimiter", [""])[0]
            names, folders = [], set()
            for name in sorted(web.files):
                inside = name.removeprefix(f"{bucket}/")
                if name == inside or not inside.startswith(prefix):
                    continue
                rest = inside[len(prefix) :]
                if divided and divided in rest:
                    folders.add(prefix + rest.partition(divided)[0] + divided)
                elif inside > after:
                    names.append(inside)
            # In pages, as long listings are.
            page, more = names[:most], len(names) > most
            rows = "".join(
                f"<Contents><Key>{escape(name)}</Key><Size>{len(web.files[f'{bucket}/{name}'])}"
                f"</Size><LastModified>2026-01-{1 + web.times.get(f'{bucket}/{name}', 0):02}"
                "T03:04:05.000Z</LastModified>"
                f'<ETag>"{hashlib.md5(web.files[f"{bucket}/{name}"]).hexdigest()}"</ETag>'
                "<StorageClass>STANDARD</StorageClass></Contents>"
                for name in page
            )
            rows += "".join(
                f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>"
                for p in sorted(folders)
            )
            token = f"<NextContinuationToken>{escape(''.join(page[-1:]))}</NextContinuationToken>"
            body = (
                '<?xml version="1.0" encoding="UTF-8"?>'
                '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
                f"<KeyCount>{len(page) + len(folders)}</KeyCount><MaxKeys>{most}</MaxKeys>"
                f"<IsTruncated>{str(more).lower()}</IsTruncated>{token * more}{rows}"
                "</ListBucketResult>"
            )
            self.answer(200, body.encode(), Content_Type="application/xml")

        def file(self, path: str) -> None:
            data = web.files[path]
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            condition = self.headers.get("If-Range", tag)
            at, end = 0, len(data)
            part = bool(asked) and web.ranges and condition == tag
            if asked and part:
                at = int(asked[1])
                end = min(len(data), int(asked[2]) + 1) if asked[2] else len(data)
                if at >= len(data):
                    self.answer(416)
                    return
            self.send_response(206 if part else 200)
            if part:
                self.send_header("Content-Range", f"bytes {at}-{end - 1}/{len(data)}")
            self.send_header("Content-Length", str(end - at))
            self.send_header("ETag", tag)
            self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
            self.end_headers()
            if self.command == "HEAD":
                return
            most = web.cut(path, at)
            if most is not None and at + most < end:
                self.wfile.write(data[at : at + most])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            for k in range(at, end, 1000 if web.pause else 1 << 20):
                self.wfile.write(data[k : min(end, k + (1000 if web.pause else 1 << 20))])
                time.sleep(web.pause)

        def body(self) -> bytes:
            chunks = []
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline().partition(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
            else:
                chunks.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            data = b"".join(chunks)
            if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
                return data
            out, at = [], 0
            while at < len(data):
                end = data.index(b"\r\n", at)
                size = int(data[at:end].partition(b";")[0], 16)
                if not size:
                    break
                out.append(data[end + 2 : end + 2 + size])
                at = end + 2 + size + 2
            return b"".join(out)

        def do_PUT(self) -> None:
            data = self.body()
            path = self.ours()
            if path is None:
                return
            query = parse_qs(urlsplit(self.path).query)
            if "uploadId" in query:
                parts[query["uploadId"][0]][int(query["partNumber"][0])] = data
            else:
                web.files[path] = data
            self.answer(200, ETag=f'"{hashlib.md5(data).hexdigest()}"')

        def do_POST(self) -> None:
            self.body()
            path = self.ours()
            if path is None:
                return
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            if "uploads" in query:
                upload = f"upload{len(parts)}"
                parts[upload] = {}
                inside = f"<UploadId>{upload}</UploadId>"
                kind = "InitiateMultipartUploadResult"
            else:
                held = parts.pop(query["uploadId"][0])
                web.files[path] = b"".join(held[k] for k in sorted(held))
                inside, kind = '<ETag>"0"</ETag>', "CompleteMultipartUploadResult"
            body = f'<?xml version="1.0" encoding="UTF-8"?><{kind}>{inside}</{kind}>'
            self.answer(200, body.encode(), Content_Type="application/xml")

        def do_DELETE(self) -> None:
            path = self.ours()
            if path is not None:
                web.files.pop(path, None)
                self.answer(204)

    return Handler


@contextmanager
def serving() -> Iterator[Web]:
    """A server of its own, at `url` until the end."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(web))
    server.daemon_threads = True
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def moto(python: str) -> Iterator[str]:
    """The address of moto's server, run by a Python that has it: its requirements do not go
    together with ours (botocore asks for an older dateutil)."""
    code = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as free:
        port = str(free.server_address[1])
    server = subprocess.Popen(
        [python, "-c", code, port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


def environment(url: str) -> dict[str, str]:
    """What the environment says to reach an S3 of ours."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def upload(web: Web, folder: Path, to: str) -> None:
    """Put a folder of this machine below a path of the server."""
    for path in folder.rglob("*"):
        if path.is_file():
            web.files[f"{to}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()


def pairs_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    return {name.replace(os.sep, "/"): data for name, data in found.items()}
