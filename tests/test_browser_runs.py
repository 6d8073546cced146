"""Runs made, compared and taken away in a real Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core import jobs
from core.run import Settings, plan
from core.store import list_runs
from tests import tiny
from tests.test_browser import Server, Visit, browser, cache  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WAIT = 90_000


@pytest.fixture
def photos(tmp_path) -> Path:
    return tiny.write_folder(tmp_path / "photos", 192)


def fill(page, label: str, value: str) -> None:
    box = page.get_by_label(label, exact=True)
    box.fill(value)
    box.press("Enter")


def test_a_run_is_made_stopped_and_gone_on_with(browser, photos, tmp_path):  # noqa: F811
    root = tmp_path / "cache"
    root.mkdir()
    server = Server(root)
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open("Runs")
        fill(page, "Photos and masks", f"folder:{photos}/nowhere")
        fill(page, "Network", "python:tests.tiny:slow")
        page.get_by_role("button", name="Check").click()
        error = page.locator('[data-testid="stAlert"]')
        error.wait_for(timeout=WAIT)
        assert "nowhere" in error.inner_text()

        fill(page, "Photos and masks", f"folder:{photos}")
        error.wait_for(state="detached")
        visit.settle()
        page.get_by_role("button", name="Check").click()
        page.get_by_text("Reading the photos").wait_for()
        # What a check found is there after a reload, under the same address.
        page.reload()
        page.get_by_role("button", name="Start").wait_for(timeout=WAIT)
        assert "192" in page.locator('[data-testid="stMetric"]').first.inner_text()
        page.get_by_role("button", name="Start").click()
        page.get_by_text(re.compile(r"Step 1 of 3.* of 192 images")).wait_for(timeout=WAIT)
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_text("Stopped.").wait_for(timeout=WAIT)
        assert not list_runs(root)
    finally:
        server.stop()

    digest = plan(Settings(f"folder:{photos}", "python:tests.tiny:slow")).digest
    assert jobs.watch(digest, root).state == "stopped"
    server = Server(root)  # the server may be another one by then
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open("Runs")
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("Finished.", exact=True).wait_for(timeout=WAIT)
        assert [path.stem for path in list_runs(root)] == [digest]
        page.get_by_role("button", name="Put away").click()
        page.get_by_text("At work").wait_for(state="detached")
        visit.open(f"Runs?run={digest}")
        page.get_by_text("No file was left out.").wait_for()
        visit.check()
        page.close()
    finally:
        server.stop()
