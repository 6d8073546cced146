"""Runs made, compared and taken away in a real Chromium."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation import jobs
from core.foundation.settings import Settings
from core.runs.run_file import Run
from core.runs.store import list_runs
from tests import tiny
from tests.browsing import Server, Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WAIT = 90_000


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    folder = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny", 60)
    out = tmp_path_factory.mktemp("cache")
    settings = Settings(f"folder:{folder}", tiny.SPEC, ("body.3",), q=0.05, shuffles=3)
    execute(plan(settings), out).close()
    return out


@pytest.fixture
def photos(tmp_path) -> Path:
    return tiny.write_folder(tmp_path / "photos", 192)


def fill(page, label: str, value: str) -> None:
    box = page.get_by_label(label, exact=True)
    box.fill(value)
    box.press("Enter")


def test_a_run_is_made_stopped_and_gone_on_with(browser, photos, tmp_path):
    root = tmp_path / "cache"
    root.mkdir()
    server = Server(root)
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open("Runs")
        fill(page, "Photos and masks", f"folder:{photos}/nowhere")
        fill(page, "Network", "python:tests.tiny:slower")
        # A path that is not there is said at once, before anything is checked.
        error = page.locator('[data-testid="stAlert"]')
        error.wait_for(timeout=WAIT)
        assert f"there is no folder {photos}/nowhere" in error.inner_text()
        assert page.get_by_role("button", name="Check").is_disabled()

        fill(page, "Photos and masks", f"folder:{photos}")
        error.wait_for(state="detached")
        visit.settle()
        page.get_by_role("button", name="Check").click()
        page.get_by_text("Reading the photos").wait_for()
        # What a check found is there after a reload, under the same address.
        page.reload()
        page.get_by_role("button", name="Start").wait_for(timeout=WAIT)
        images = page.locator('[data-testid="stMetric"]').filter(has_text="images").first
        assert "192" in images.inner_text()
        page.get_by_role("button", name="Start").click()
        page.get_by_text(re.compile(r"Step 1 of 3.* of 192 images")).wait_for(timeout=WAIT)
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_text("Stopped.").wait_for(timeout=WAIT)
        assert not list_runs(root)
    finally:
        server.stop()

    digest = plan(Settings(f"folder:{photos}", "python:tests.tiny:slower")).digest
    assert jobs.watch(digest, root).state == "stopped"
    server = Server(root)  # the server may be another one by then
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open("Runs")
        page.get_by_role("button", name="Resume").click()
        page.get_by_text("Finished.", exact=True).wait_for(timeout=WAIT)
        assert [path.stem for path in list_runs(root)] == [digest]
        page.get_by_role("button", name="Dismiss").click()
        page.get_by_text("Running", exact=True).wait_for(state="detached")
        visit.open(f"Runs?run={digest}")
        page.get_by_text("No file was left out.").wait_for()
        visit.check()
        page.close()
    finally:
        server.stop()


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install ray")
def test_a_run_is_made_by_workers_of_ray(browser, photos, tmp_path):
    root = tmp_path / "cache"
    root.mkdir()
    server = Server(root)
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open(f"Runs?data=folder:{photos}&net={tiny.SPEC}&shuffles=1")
        page.get_by_text("More choices").click()
        chooser = page.get_by_role("combobox", name=re.compile("Made by"))
        chooser.scroll_into_view_if_needed()
        page.wait_for_timeout(1000)  # a list that is open closes when the page scrolls
        chooser.click()
        page.get_by_role("option", name="workers of Ray").click()
        page.wait_for_url(re.compile("engine=ray"), timeout=WAIT)
        visit.settle()
        fill(page, "Workers (0: as many as fit)", "2")
        page.wait_for_url(re.compile("workers=2"), timeout=WAIT)
        page.get_by_role("button", name="Check").click()
        page.get_by_role("button", name="Start").wait_for(timeout=WAIT)
        assert "--engine ray --workers 2" in page.locator("main").inner_text()
        page.get_by_role("button", name="Start").click()
        page.get_by_text("Finished.", exact=True).wait_for(timeout=WAIT)
        visit.check()
        page.close()
    finally:
        server.stop()
    work = plan(Settings(f"folder:{photos}", tiny.SPEC, shuffles=1))
    job = jobs.watch(work.digest, root)
    assert job.state == "finished" and job.arguments[-4:] == ("--engine", "ray", "--workers", "2")
    made, one = Run(root / f"{work.digest}.duckdb"), execute(work, tmp_path / "one")
    assert made.info["tables_digest"] == one.info["tables_digest"]


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """A folder with two runs of one set of photos, by layers and by thresholds."""
    folder = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny", 60)
    out = tmp_path_factory.mktemp("cache")
    for layers, q in ((("body.1", "body.3"), 0.05), (("body.3",), 0.1)):
        execute(plan(Settings(f"folder:{folder}", tiny.SPEC, layers, q=q, shuffles=2)), out).close()
    return out


def test_a_report_is_taken_away_and_opens_by_itself(browser, two, tmp_path):
    server = Server(two)
    try:
        visit = Visit(browser, server)
        visit.open("")
        with visit.page.expect_download(timeout=WAIT) as saved:
            visit.page.get_by_role("button", name="Save the report").click()
        assert saved.value.suggested_filename.endswith(".html")
        file = tmp_path / "report.html"
        saved.value.save_as(file)
        visit.check()
        visit.page.close()

        asked: list[str] = []
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: asked.append(message.text))
        page.goto(file.as_uri())
        assert page.locator("h1").inner_text() == "tiny · tiny"
        assert page.locator("figure svg").count() >= 3
        wide = page.locator("figure svg").first.bounding_box()
        assert wide and wide["width"] > 300
        assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
        page.close()
    finally:
        server.stop()


def test_sides_are_chosen_and_kept_in_the_address(browser, two):
    server = Server(two)
    try:
        visit = Visit(browser, server)
        visit.open("Compare")
        page = visit.page
        assert visit.title() == "Compare"
        chosen = page.get_by_test_id("stMultiSelect")

        def sides() -> int:
            return chosen.inner_text().count("tiny · tiny · body")

        assert sides() == 2
        page.get_by_label("What to compare").click()
        page.get_by_role("option").first.click()
        page.wait_for_url("**sides=*")
        visit.settle()
        assert sides() == 3
        page.get_by_text("Correct predictions, photo by photo").first.wait_for(timeout=WAIT)
        page.reload()
        visit.settle()
        assert sides() == 3
        visit.check()
        page.close()
    finally:
        server.stop()
