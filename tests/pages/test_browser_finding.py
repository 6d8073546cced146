"""Found, marked, clicked and dropped in, in a real Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.runs.notes import Marks, Thing, marks_of
from core.runs.run_file import Run
from core.views.images import Filter, gallery
from core.views.runs import resolve
from tests import tiny
from tests.browsing import Server, Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WAIT = 90_000


@pytest.fixture(scope="module")
def own(two_runs, tmp_path_factory) -> Path:
    folder = shutil.copytree(two_runs, tmp_path_factory.mktemp("finding") / "cache")
    for path in sorted(two_runs.glob("*.duckdb")):
        shutil.copystat(path, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def server(own):
    started = Server(own)
    yield started
    started.stop()


def in_sight(page, selector: str) -> bool:
    return page.evaluate(
        """selector => {
            const box = document.querySelector(selector)?.getBoundingClientRect();
            return !!box && box.top >= 0 && box.top < innerHeight;
        }""",
        selector,
    )


def test_a_cell_of_the_matrix_brings_its_photos_on_a_phone(browser, server, own):
    visit = Visit(browser, server, width=390)
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 640})
    visit.open("Scenes?view=matrix")
    table = page.locator(".matrix table")
    table.wait_for(timeout=WAIT)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # It is moved within the page, and its names stay in sight meanwhile.
    narrow = page.add_style_tag(
        content=".matrix {max-width: 3rem !important; max-height: 5rem !important}"
    )
    left, names, heads = page.evaluate(
        """() => {
            const frame = document.querySelector(".matrix");
            frame.scrollTo(frame.scrollWidth, frame.scrollHeight);
            const at = frame.getBoundingClientRect();
            const places = selector => [...frame.querySelectorAll(selector)]
                .map(head => head.getBoundingClientRect());
            return [frame.scrollLeft, places("tbody th").map(box => box.x - at.x),
                    places("thead th").map(box => box.y - at.y)];
        }"""
    )
    assert left > 10
    assert names == pytest.approx([0] * len(names), abs=2)
    assert heads == pytest.approx([0] * len(heads), abs=2)
    narrow.evaluate("style => style.remove()")
    cell = page.locator(".matrix td a").last
    assert not in_sight(page, ".st-key-cell-photos")
    cell.click()
    page.wait_for_url("**scene=*", timeout=WAIT)
    visit.settle()
    page.wait_for_function(
        """() => {
            const box = document.querySelector(".st-key-cell-photos")?.getBoundingClientRect();
            return box && box.top >= 0 && box.bottom < innerHeight * 0.8;
        }""",
        timeout=WAIT,
    )
    visit.check()
    page.close()


def test_a_thing_is_found_marked_and_found_by_its_tag(browser, server, own):
    run = Run(resolve(None, own))
    visit = Visit(browser, server)
    page = visit.page
    visit.open("")
    box = page.get_by_label("Search", exact=True)
    box.fill("010")
    box.press("Enter")
    page.get_by_role("link", name="010").first.click()
    visit.titled(
        "Attic" if gallery(run, Filter(ids=("010",)))[1]["scene_name"][0] == "attic" else ""
    )
    page.wait_for_url("**image=010*", timeout=WAIT)
    visit.settle()
    page.get_by_role("button", name="Tags and note").click()
    page.get_by_label("Tags", exact=True).fill("look again")
    page.get_by_label("Note", exact=True).fill("the lamp is cut")
    page.get_by_role("button", name="Save", exact=True).last.click()
    page.get_by_test_id("stText").get_by_text("the lamp is cut").wait_for(timeout=WAIT)
    assert marks_of(run, Thing("010")) == Marks(("look again",), "the lamp is cut")
    visit.open("Units")
    box = page.get_by_label("Search", exact=True)
    box.fill("look aga")
    box.press("Enter")
    page.get_by_role("link", name="010 look again").wait_for(timeout=WAIT)
    visit.check()
    page.close()


def test_a_zip_is_dropped_in_and_fills_the_form(browser, server, own, tmp_path):
    tiny.write_folder(tmp_path / "mine", 6)
    archive = shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path, "mine")
    visit = Visit(browser, server)
    page = visit.page
    visit.open("Runs")
    page.get_by_role("button", name="Drop in a zip or folder").click()
    page.locator('input[type="file"]').first.set_input_files(archive)
    page.get_by_role("button", name="Unpack and use it").click(timeout=WAIT)
    page.wait_for_url("**data=folder*dropped*", timeout=WAIT)
    visit.settle()
    (folder,) = [p for p in (own / "dropped").iterdir() if p.is_dir()]
    assert page.get_by_label("Photos and masks", exact=True).input_value() == f"folder:{folder}"
    assert len(list((folder / "images").iterdir())) == 6
    visit.check()
    page.close()
