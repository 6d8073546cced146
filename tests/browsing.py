"""A server of the app and a visitor who remembers what went wrong, for the browser's tests."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SERVE = ("pages.parts.serve",)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

STILL = """addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "*, ::before, ::after"
    + "{ animation-duration: 1ms !important; animation-iteration-count: 1 !important }";
  document.head.append(style);
});"""
"""Run on every page: what turns and glimmers while a page is drawn took a quarter of the browser's
time, on cores that drew the page."""


class Server:
    """A server of the app on a free port, started as `make run` does.

    token : what it printed within its address; empty where it made none.
    """

    def __init__(self, cache: Path, *options: str, port: int = 0, **environment: str):
        with socket.socket() as s:
            s.bind(("127.0.0.1", port))
            port = s.getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                *(options or SERVE),
                "--server.port",
                str(port),
                *(() if "--server.address" in options else ("--server.address", "127.0.0.1")),
            ],
            cwd=ROOT,
            env={**os.environ, "UNITSCOPE_CACHE": str(cache), **environment},
            stdout=self.said,
            stderr=self.said,
        )
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://{self.host}/_stcore/health", timeout=1).read()
                self.token = "".join(re.findall(r"\?token=(\S+)", self.output()))
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.1)

    def output(self) -> str:
        """What it has printed by now."""
        # Without moving the place at which the server writes on.
        return os.pread(self.said.fileno(), 2**20, 0).decode()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.said.close()


class Visit:
    """A page of the browser that remembers what went wrong.

    owner : whether it opens the address with the token that the server printed.
    """

    def __init__(
        self,
        browser: Any,
        server: Server,
        width: int = 1280,
        scheme: str = "light",
        owner: bool = True,
    ):
        self.page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.page.add_init_script(STILL)
        self.server, self.wrong = server, []
        self.token = server.token if owner else ""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def _console(self, message: Any) -> None:
        # A page's own address makes Streamlit look for its server beneath it first.
        if message.type == "error" and "/_stcore/" not in message.location["url"]:
            self.wrong.append(f"console: {message.text}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and "/_stcore/" not in response.url:
            self.wrong.append(f"{response.status}: {response.url}")

    def _request(self, request: Any) -> None:
        url = request.url
        inside = (f"http://{self.server.host}/", f"ws://{self.server.host}/", "data:", "blob:")
        if not url.startswith(inside):
            self.wrong.append(f"request to another host: {url}")
        elif "/media/" in url and request.resource_type == "image":
            # Streamlit forgets pictures of a script that the next one stopped, shown or not.
            self.wrong.append(f"a picture that is not sent with its page: {url}")

    def open(self, path: str) -> None:
        if self.token:
            path += ("&" if "?" in path else "?") + f"token={self.token}"
            self.token = ""  # a cookie by then
        self.page.goto(f"http://{self.server.host}/{path}")
        assert "token" not in self.page.url
        self.settle()

    def settle(self) -> None:
        """Until the script has run through and nothing is left to draw."""
        self.page.wait_for_selector("h1", timeout=60_000)
        self.page.wait_for_function(
            """() => {
                const app = document.querySelector('[data-testid="stApp"]');
                return app && app.getAttribute('data-test-script-state') === 'notRunning'
                    && !document.querySelector('[data-testid="stSkeleton"]');
            }""",
            timeout=60_000,
        )
        self.page.wait_for_timeout(300)

    def check(self) -> None:
        boxes = self.page.locator('[data-testid="stException"], [data-testid="stAlert"]')
        assert boxes.count() == 0, boxes.first.inner_text()
        assert not self.wrong, self.wrong

    def title(self) -> str:
        return self.page.locator("h1").first.inner_text()

    def titled(self, begins: str = "", other: str = "") -> str:
        """The title as soon as it begins so and is not the `other` one: a busy browser may draw it
        a while after the script has ended."""
        self.page.wait_for_function(
            """([begins, other]) => {
                const title = document.querySelector("h1")?.innerText ?? "";
                return title.startsWith(begins) && title !== other;
            }""",
            arg=[begins, other],
            timeout=60_000,
        )
        return self.title()
