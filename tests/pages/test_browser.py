"""The app in a real Chromium: every page by its own address on a fresh server, one journey.

Failing are an error box, an error on the console and a request to another host.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.settings import Settings
from tests import tiny
from tests.browsing import Server, Visit

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    folder = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny", 60)
    out = tmp_path_factory.mktemp("cache")
    settings = Settings(f"folder:{folder}", tiny.SPEC, ("body.3",), q=0.05, shuffles=3)
    execute(plan(settings), out).close()
    return out


@pytest.fixture
def fresh(cache) -> Iterator[Server]:
    server = Server(cache)
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("path", "title", "charts"),
    [
        ("", "What do the units of this network detect?", 2),
        ("Scenes", "Scenes", 0),
        ("Scenes?view=matrix", "Scenes", 0),
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
    assert (
        visit.page.locator(
            '[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg'
        ).count()
        >= charts
    )
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
        page.locator("[role=listitem] a").first.click()
        page.wait_for_url("**unit=*")
        visit.settle()
        unit = visit.titled("Unit ")
        page.reload()
        visit.settle()
        assert visit.titled("Unit ") == unit

        chart = page.get_by_text("Save", exact=True).nth(1)
        chart.click()
        for kind, start in (("SVG", b"<svg"), ("PDF", b"%PDF"), ("PNG", b"\x89PNG")):
            with page.expect_download() as saved:
                page.get_by_role("button", name=kind, exact=True).click()
            assert Path(saved.value.path()).read_bytes().startswith(start)
        page.get_by_text("3.3 in", exact=True).click()
        page.get_by_text("Unitscope 0.").wait_for()  # the caption: what the title said
        visit.settle()
        with page.expect_download() as saved:
            page.get_by_role("button", name="SVG", exact=True).click()
        assert b'width="3.3in"' in Path(saved.value.path()).read_bytes()[:400]
        page.keyboard.press("Escape")

        page.locator("[role=listitem] a").first.click()
        page.wait_for_url("**/Scenes?*image=*")
        visit.settle()
        visit.titled(other=unit)
        page.go_back()
        page.wait_for_url("**/Units?*unit=*")
        visit.settle()
        assert visit.titled("Unit ") == unit
        page.go_back()
        page.wait_for_url(lambda url: "unit=" not in url)
        visit.settle()
        assert visit.titled(other=unit) == "Units"
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


def test_the_pointer_is_told_what_is_annotated(browser, cache):
    server = Server(cache)
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open("Scenes?image=010")
        photo = page.locator(".photo img")
        box = photo.bounding_box()
        known = {"thing 1", "thing 2", "thing 3", "thing 4", "piece 6", "piece 7", "piece 8"}
        told = set()
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
            label = page.locator(".told")
            if label.is_visible():
                told |= set(label.inner_text().split(", "))
                at = share
        assert told and told <= known
        page.mouse.click(box["x"] + at * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_url("**label=*")
        visit.settle()
        assert page.get_by_text("as annotated.").is_visible()
        visit.check()
        page.close()
    finally:
        server.stop()
