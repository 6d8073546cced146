"""How fast the app's pages are in a browser, on a large run.

    python -m core bench app [--images 20000]
    python -m benchmarks.app [--run FILE] [--images 20000] [--paths Overview Units?unit=7 …]

For each page, in the system's Chromium against a server of its own, started as `make run` does:

* ``first``: opened as the first page of a fresh server (imports, open files, empty caches);
* ``again``: the same address once more, in a new tab (its answers are cached);
* ``redraw``: the page's script run again within the tab, as any control of the page does.

Three times each, in seconds: until the title is there, until all is drawn and the script has
come to its end, and what the server spent of a core's time meanwhile. Whoever else uses the
machine is measured along in the first two, hardly in the third; nothing here asserts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.drawn_run import make
from core.foundation.errors import UnitscopeError

ROOT = Path(__file__).resolve().parents[1]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATHS = {
    "Scenes": (
        "Scenes",
        "Scenes?view=matrix",
        "Scenes?scene=bedroom&outcome=wrong",
        "Scenes?image=drawn-000010",
    ),
    "Units": ("Units", "Units?unit=7", "Units?concept=bed"),
}
"""Addresses of a page that are more than its plain one."""

DRAWN = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    return app && app.getAttribute('data-test-script-state') === 'notRunning'
        && document.querySelector('h1') && !document.querySelector('[data-testid="stSkeleton"]');
}"""

WATCH = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    window.ranAgain = false;
    new MutationObserver(() => {
        window.ranAgain ||= app.getAttribute('data-test-script-state') !== 'notRunning';
    }).observe(app, {attributes: true});
}"""


EMPTY = 'import streamlit as st\nst.title("Nothing")\n'
"""The least that a Streamlit page can be."""


def _served(cache: Path, script: Path | None = None) -> tuple[subprocess.Popen[bytes], str]:
    """A fresh server of the app, or of another script, and its address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            *(("streamlit", "run", str(script)) if script else ("pages.parts.serve",)),
            "--server.port",
            str(port),
            "--server.address",
            "127.0.0.1",
        ],
        cwd=ROOT,
        env={**os.environ, "UNITSCOPE_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    host = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{host}/_stcore/health", timeout=1).read()
            return process, host
        except OSError:
            time.sleep(0.2)
    process.terminate()
    raise UnitscopeError("the app's server did not come up in a minute")


def _core_time(pid: int) -> float:
    """Seconds of a core that a process has used; NaN where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _times(page: Any, act: Any, server: int) -> tuple[float, float, float]:
    """Seconds until the title is there, until all is drawn after `act`, and of the server's
    core."""
    before = _core_time(server)
    began = time.perf_counter()
    act()
    page.wait_for_selector("h1", timeout=120_000)
    title = time.perf_counter() - began
    page.wait_for_function(DRAWN, timeout=120_000)
    return title, time.perf_counter() - began, _core_time(server) - before


def _one(browser: Any, cache: Path, path: str, run: str) -> dict[str, Any]:
    from playwright.sync_api import TimeoutError as Late

    process, host = _served(cache)
    row: dict[str, Any] = {"page": path or "Overview", "error": ""}
    try:
        address = f"{host}/{path}{'&' if '?' in path else '?'}run={run}"
        for name in ("first", "again"):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            row[name] = _times(page, lambda page=page: page.goto(address), process.pid)
            if name == "first":
                page.close()

        def again() -> None:
            # Streamlit's key for it. The run may be over before one has looked.
            page.evaluate(WATCH)
            page.keyboard.press("r")
            page.wait_for_function("window.ranAgain", timeout=30_000)

        row["redraw"] = _times(page, again, process.pid)
        boxes = page.locator('[data-testid="stException"]')
        row["error"] = boxes.first.inner_text() if boxes.count() else ""
        page.close()
    except Late as err:
        row["error"] = f"did not come to rest: {str(err).splitlines()[0]}"
    finally:
        process.terminate()
        process.wait(20)
    return row


def first_page(run: Path, rounds: int = 3) -> tuple[float, float]:
    """Seconds until the first page of a fresh server is drawn: (Overview of `run`, an empty page).

    The quickest of `rounds` each, in turn. Raises UnitscopeError without Chromium.
    """
    from playwright.sync_api import sync_playwright

    best = [float("inf"), float("inf")]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        script = Path(folder) / "empty.py"
        script.write_text(EMPTY)
        browser = driver.chromium.launch(executable_path=_chromium(), args=FLAGS)
        for turn in range(2 * rounds):
            process, host = _served(run.parent, script if turn % 2 else None)
            try:
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                address = host if turn % 2 else f"{host}/?run={run.stem}"
                _, drawn, _ = _times(page, lambda: page.goto(address), process.pid)  # noqa: B023
                best[turn % 2] = min(best[turn % 2], drawn)
                page.close()
            finally:
                process.terminate()
                process.wait(20)
        browser.close()
    return best[0], best[1]


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        raise UnitscopeError("no Chromium found: apt-get install chromium")
    return found


def measure(
    images: int = 20_000, run: Path | None = None, paths: Sequence[str] = ()
) -> tuple[dict[str, Any], str]:
    """Times of every page on a drawn run of `images` × 512 units (or on the file `run`)."""
    from playwright.sync_api import sync_playwright

    chromium = _chromium()
    path = run or make(images).path
    labels = [file.stem.split("_", 1)[-1] for file in sorted((ROOT / "pages").glob("*.py"))]
    every = ["", *(p for label in labels for p in PATHS.get(label, (label,)))]
    asked = [p if p != "Overview" else "" for p in paths] or every
    head = f"{'page':36}" + "".join(
        f"{f'{name}: title, all, core':>29}" for name in ("first", "again", "redraw")
    )
    lines, rows = [head], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for one in asked:
            rows.append(_one(browser, path.parent, one, path.stem))
            lines.append(_line(rows[-1]))
            print(lines[-1], file=sys.stderr, flush=True)
        browser.close()
    load = os.getloadavg()
    lines.append(f"load of the machine over the last minutes: {load[0]:.1f}, {load[1]:.1f}")
    return {"run": path.stem, "seconds": rows, "load": load}, "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    cells = [
        "".join(f"{seconds:8.2f}" for seconds in row[name]).rjust(29)
        for name in ("first", "again", "redraw")
        if name in row
    ]
    return f"{row['page']:36}{''.join(cells)}" + (f"  {row['error'][:90]}" if row["error"] else "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, metavar="FILE")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--paths", nargs="*", default=[])
    given = parser.parse_args()
    print(measure(given.images, given.run, given.paths)[1])
