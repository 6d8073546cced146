"""Explain and Concepts in a real Chromium: fresh addresses, clicks in the account, a photo."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.settings import Settings
from core.foundation.vocabulary import Strategy
from tests import tiny
from tests.browsing import Server, Visit

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("ask")
    folder = tiny.write_folder(base / "tiny", 45)
    facts = base / "facts.tsv"
    facts.write_text("AtLocation\tthing 1\tattic\nHasA\tbarn\tthing 2\nAtLocation\thay\tbarn\n")
    settings = Settings(
        f"folder:{folder}", tiny.SPEC, ("body.3",), q=0.05, shuffles=3, knowledge=f"triples:{facts}"
    )
    execute(plan(settings), base / "cache").close()
    return base / "cache"


@pytest.fixture
def fresh(cache) -> Iterator[Server]:
    server = Server(cache)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server(cache) -> Iterator[Server]:
    one = Server(cache)
    yield one
    one.stop()


@pytest.mark.parametrize(
    ("path", "title", "charts", "graphs"),
    [
        ("Explain?image=010&strategy=whole_layer&see=thing+1", "Why did the network", 5, 0),
        ("Concepts?scene=attic", "Core concepts of scenes", 0, 1),
        ("Concepts?view=groups", "Core concepts of scenes", 0, 0),
        ("Units?view=map", "Units", 1, 0),
    ],
)
def test_an_address_on_a_fresh_server(browser, fresh, path, title, charts, graphs):
    visit = Visit(browser, fresh)
    visit.open(path)
    assert visit.title().startswith(title)
    drawn = '[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg'
    assert visit.page.locator(drawn).count() >= charts
    assert visit.page.locator('[data-testid="stDeckGlJsonChart"] canvas').count() == graphs
    visit.check()
    visit.page.close()


def test_an_account_is_followed(browser, server):
    """From a photo's page to its account, a concept by a click, the next photo, and back."""
    visit = Visit(browser, server)
    page = visit.page
    visit.open("Scenes?image=010")
    page.get_by_role("link", name="Why?").click()
    page.wait_for_url("**/Explain?*image=010*")
    visit.settle()
    chooser = page.get_by_label("Concept selection strategy")
    chooser.scroll_into_view_if_needed()
    page.wait_for_timeout(500)  # a list that is open closes when the page scrolls
    chooser.click()
    page.get_by_role("option", name=Strategy.WHOLE_LAYER.long).click()
    page.wait_for_url("**strategy=whole_layer*")
    visit.settle()
    account = page.get_by_role("region", name="The true scene").or_(
        page.get_by_role("region", name="Prediction and true scene")
    )
    concept = account.locator("a.name").first
    name = concept.inner_text()
    concept.click()
    page.wait_for_url("**see=*")
    visit.settle()
    page.get_by_text(f"Bright: {name}").wait_for()
    assert page.get_by_text(f"Bright: {name}").is_visible()
    assert account.locator("a[aria-current=true]").inner_text() == name
    page.reload()
    visit.settle()
    page.get_by_text(f"Bright: {name}").wait_for()
    assert page.get_by_text(f"Bright: {name}").is_visible()
    page.get_by_role("link", name="Next", exact=True).click()
    # 011 is a training photo, and the photos gone through are those of the held-out split.
    page.wait_for_url(lambda url: "image=012" in url and "see=" not in url)
    visit.settle()
    page.go_back()
    page.wait_for_url(lambda url: "image=010" in url and "see=" in url)
    visit.settle()
    account.locator(".more a").first.click()
    page.wait_for_url("**/Units?*unit=*")
    visit.settle()
    visit.titled("Unit ")
    visit.check()
    page.close()


def test_a_concept_is_clicked_away(browser, server):
    """The answer moves at once, and the address holds what is away."""
    visit = Visit(browser, server)
    page = visit.page
    visit.open("Explain?image=010&without=none")
    page.get_by_text("Choose what to remove above.").wait_for()
    page.get_by_test_id("stButtonGroup").get_by_role("button", name="thing 2").click()
    page.wait_for_url(lambda url: "without=none" not in url)
    page.get_by_text("What the network saw: without thing 2").wait_for()
    page.reload()
    visit.settle()
    page.get_by_text("What the network saw: without thing 2").wait_for()
    visit.check()
    page.close()


def test_a_row_of_the_chart_is_clicked_away(browser, server):
    """A bar that is clicked takes its concept away, clicked again it has it back."""
    visit = Visit(browser, server)
    page = visit.page
    visit.open("Explain?image=010&without=none")
    page.get_by_text("Choose what to remove above.").wait_for()
    chart = page.locator('[data-testid="stVegaLiteChart"]').first
    rows = chart.locator('path[aria-roledescription="rect mark"]')
    name = rows.first.get_attribute("aria-label").split("concept: ")[1].split(";")[0]
    rows.first.click()
    page.wait_for_url(lambda url: "without=none" not in url)
    page.get_by_text(f"What the network saw: without {name}").wait_for()
    visit.settle()
    chart.locator('path[aria-roledescription="rect mark"]').nth(1).click()
    page.wait_for_url(lambda url: "%7C" in url or "|" in url)
    visit.settle()
    for _ in range(2):
        chart.locator('path[aria-roledescription="rect mark"]').first.click()
        visit.settle()
    page.wait_for_url(lambda url: "%7C" in url or "|" in url)
    visit.check()
    page.close()


def photo(width: int, height: int) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()


def test_a_photo_of_ones_own_is_explained(browser, server):
    visit = Visit(browser, server)
    page = visit.page
    visit.open("Explain?view=own&cc=top10")
    page.set_input_files(
        "input[type=file]", {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": photo(90, 70)}
    )
    page.get_by_text("What the network saw of mine.jpg").wait_for()
    visit.settle()
    assert page.get_by_role("region", name="Prediction").count() == 1
    # The only box is the note of how badly labels stand in for masks.
    boxes = page.locator('[data-testid="stAlert"]')
    assert boxes.count() == 1 and "badly" in boxes.inner_text()
    assert page.locator('[data-testid="stException"]').count() == 0 and not visit.wrong
    page.set_input_files(
        "input[type=file]", {"name": "no.jpg", "mimeType": "image/jpeg", "buffer": b"hello"}
    )
    page.get_by_text("No.jpg: ").wait_for()
    assert page.locator('[data-testid="stException"]').count() == 0 and not visit.wrong
    page.close()


def test_concepts_are_found_from_a_scene(browser, server):
    visit = Visit(browser, server)
    page = visit.page
    visit.open("Concepts?scene=attic")
    for kind, start in (("SVG", b"<svg"), ("PDF", b"%PDF")):
        page.get_by_text("Save", exact=True).first.click()
        with page.expect_download() as saved:
            page.get_by_role("button", name=kind, exact=True).click()
        assert Path(saved.value.path()).read_bytes().startswith(start)
        page.keyboard.press("Escape")
    page.get_by_role("link", name="Next", exact=True).click()
    page.wait_for_url("**scene=barn*")
    visit.settle()
    page.get_by_text("Find a concept", exact=True).click()
    page.wait_for_url("**view=find*")
    visit.settle()
    visit.open("Concepts?view=find&concept=thing+2")
    assert page.locator("[role=listitem] a").count() > 6
    page.locator("[role=listitem] a").last.click()
    page.wait_for_url("**/Scenes?*image=*")
    visit.settle()
    visit.check()
    page.close()


def test_corrected_names_are_given_back(browser, server, tmp_path):
    wrong, right = tmp_path / "wrong.csv", tmp_path / "right.csv"
    wrong.write_text("name,node\ncellar,nowhere\n")
    right.write_text("name,node\ncellar,barn\n")
    visit = Visit(browser, server)
    page = visit.page
    visit.open("Concepts?view=names")
    given = page.locator('input[type="file"]')
    given.set_input_files(wrong)
    page.get_by_text("is to be 'nowhere'").wait_for()
    given.set_input_files(right)
    page.get_by_role("button", name="Read names with it").click()
    page.wait_for_url("**names=*")
    visit.settle()
    page.get_by_test_id("stSidebar").get_by_role("link", name="Explain", exact=True).click()
    page.wait_for_url("**/Explain?*names=*")
    page.get_by_role("button", name="Without the corrections").click()
    page.wait_for_url(lambda url: "names=" not in url)
    visit.settle()
    visit.check()
    page.close()


def test_both_pages_fit_a_narrow_window(browser, server):
    for scheme in ("light", "dark"):
        visit = Visit(browser, server, width=800, scheme=scheme)
        for path in (
            "Explain?image=010&strategy=whole_layer",
            "Concepts",
            "Concepts?scene=attic",
            "Concepts?view=find&concept=thing+2",
            "Concepts?view=names",
        ):
            visit.open(path)
            over = visit.page.evaluate(
                "(() => { const m = document.querySelector('.stMain');"
                " return m.scrollWidth - m.clientWidth; })()"
            )
            assert over <= 1, f"{path} is {over} pixels too wide at 800"
        visit.check()
        visit.page.close()


def test_two_sessions_do_not_mix(browser, server):
    """Two visitors with other settings at once: each sees its own account."""
    first, second = Visit(browser, server), Visit(browser, server)
    first.open("Explain?image=010&cc=top10")
    second.open("Explain?image=011&cc=icc")
    assert first.page.get_by_label("Photo", exact=True).input_value() == "010"
    assert second.page.get_by_label("Photo", exact=True).input_value() == "011"
    assert "cc=top10" in first.page.url and "cc=icc" in second.page.url
    for visit in (first, second):
        visit.check()
        visit.page.close()
