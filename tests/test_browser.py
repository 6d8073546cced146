"""The app in a real Chromium: every page by its own address on a fresh server, one journey.

Failing are an error box, an error on the console and a request to another host.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.run import Settings, execute, plan
from tests import tiny

ROOT = Path(__file__).resolve().parents[1]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium. On a CI machine its absence is a failure, elsewhere a skip."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        why = "no Chromium found: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    folder = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny", 60)
    out = tmp_path_factory.mktemp("cache")
    settings = Settings(f"folder:{folder}", tiny.SPEC, ("body.3",), q=0.05, shuffles=3)
    execute(plan(settings), out).close()
    return out


class Server:
    """A Streamlit server of the app on a free port."""

    def __init__(self, cache: Path):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true",
             "--server.port", str(port), "--server.address", "127.0.0.1"],
            cwd=ROOT, env={**os.environ, "UNITSCOPE_CACHE": str(cache)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://{self.host}/_stcore/health", timeout=1).read()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def fresh(cache) -> Iterator[Server]:
    server = Server(cache)
    yield server
    server.stop()


class Visit:
    """A page of the browser that remembers what went wrong."""

    def __init__(self, browser: Any, server: Server, width: int = 1280, scheme: str = "light"):
        self.page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.server, self.wrong = server, []
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

    def open(self, path: str) -> None:
        self.page.goto(f"http://{self.server.host}/{path}")
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


@pytest.mark.parametrize(
    ("path", "title", "charts"),
    [
        ("", "What has this network learned to see?", 2),
        ("Scenes", "Scenes", 0),
        ("Scenes?view=matrix", "Scenes", 1),
        ("Scenes?image=010", "", 1),
        ("Units", "Units", 0),
        ("Units?unit=3", "Unit 3: ", 3),
        ("Units?concept=thing+2", "Units", 0),
        ("Runs", "Runs", 0),
    ],
)
def test_every_address_on_a_fresh_server(browser, fresh, path, title, charts):
    visit = Visit(browser, fresh)
    visit.open(path)
    assert visit.title().startswith(title)
    assert visit.page.locator('[data-testid="stVegaLiteChart"] canvas, '
                              '[data-testid="stVegaLiteChart"] svg').count() >= charts  # fmt: skip
    visit.check()
    visit.page.close()


def test_a_run_is_deleted_only_when_confirmed(browser, cache, tmp_path):
    root = tmp_path / "cache"
    shutil.copytree(cache, root)
    (file,) = root.glob("*.duckdb")
    server = Server(root)
    try:
        visit = Visit(browser, server)
        visit.open("Runs")
        visit.page.get_by_role("button", name="Delete this run").click()
        dialog = visit.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Delete", exact=True).wait_for()
        assert file.is_file()
        dialog.get_by_role("button", name="Delete", exact=True).click()
        visit.page.get_by_text("None yet.").wait_for()
        assert not file.exists() and not file.with_suffix(".arrays").exists()
        visit.check()
        visit.page.close()
    finally:
        server.stop()


def test_a_journey(browser, cache):
    """Pick a unit, reload, save a figure, go to a photo and back; then small and dark."""
    server = Server(cache)
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open("Units")
        page.locator("a[role=listitem]").first.click()
        page.wait_for_url("**unit=*")
        visit.settle()
        unit = visit.title()
        assert unit.startswith("Unit ")
        page.reload()
        visit.settle()
        assert visit.title() == unit

        chart = page.get_by_text("Save", exact=True).nth(1)
        chart.click()
        for kind, start in (("SVG", b"<svg"), ("PDF", b"%PDF"), ("PNG", b"\x89PNG")):
            with page.expect_download() as saved:
                page.get_by_role("button", name=kind, exact=True).click()
            assert Path(saved.value.path()).read_bytes().startswith(start)
        page.keyboard.press("Escape")

        page.locator("a[role=listitem]").first.click()
        page.wait_for_url("**/Scenes?*image=*")
        visit.settle()
        assert visit.title() != unit
        page.go_back()
        page.wait_for_url("**/Units?*unit=*")
        visit.settle()
        assert visit.title() == unit
        page.go_back()
        page.wait_for_url(lambda url: "unit=" not in url)
        visit.settle()
        assert visit.title() == "Units"
        visit.check()
        page.close()

        for scheme in ("light", "dark"):
            visit = Visit(browser, server, width=800, scheme=scheme)
            for path in ("", "Scenes", "Scenes?image=010", "Units", "Units?unit=3", "Runs"):
                visit.open(path)
                over = visit.page.evaluate(
                    "(() => { const m = document.querySelector('.stMain');"
                    " return m.scrollWidth - m.clientWidth; })()"
                )
                assert over <= 1, f"{path} is {over} pixels too wide at 800"
            visit.check()
            visit.page.close()
    finally:
        server.stop()
