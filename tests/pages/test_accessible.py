"""Every page by axe-core, in light and dark; the keyboard's place; 200 % zoom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browsing import Server, Visit

pytestmark = pytest.mark.browser

PATHS = (
    "",
    "?find=attic",
    "Scenes",
    "Scenes?view=matrix",
    "Scenes?image=003",
    "Units",
    "Units?view=map",
    "Units?unit=2&range=random&raises=1",
    "Concepts",
    "Concepts?view=names",
    "Concepts?view=matrix&cc=top10",
    "Explain?image=003",
    "Disable",
    "Disable?off=1-2",
    "Disable?view=compare&a=1-2&b=3",
    "Disable?view=scores",
    "Disable?view=curves",
    "Retrain",
    "Compare",
    "Reliance",
    "Runs?sql=SELECT+name+FROM+layers",
)
NOT_OURS = {"presentation-role-conflict"}
"""Rules that only Streamlit's own parts break: its uploader has a role and a name."""


@pytest.fixture(scope="module")
def server(root) -> Iterator[Server]:
    one = Server(root)
    yield one
    one.stop()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 640)])
def test_every_page_is_accessible(browser, server, scheme, width):
    """Names, roles, order of headings, contrast (WCAG AA): no violation of any of axe's rules, and
    nothing too wide. A window of 1280 pixels at 200 % zoom has 640 to draw on."""
    visit = Visit(browser, server, width=width, scheme=scheme)
    found = []
    for path in PATHS:
        visit.open(path)
        for rule in Axe().run(visit.page).response["violations"]:
            if rule["id"] not in NOT_OURS:
                nodes = [node["html"][:200] for node in rule["nodes"][:3]]
                found.append(f"{path or 'Overview'}: {rule['id']} ({rule['impact']}): {nodes}")
        over = visit.page.evaluate(
            "(() => { const m = document.querySelector('.stMain');"
            " return m.scrollWidth - m.clientWidth; })()"
        )
        if over > 1:
            found.append(f"{path or 'Overview'} is {over} pixels too wide")
    visit.check()
    visit.page.close()
    assert not found, "\n".join(found)


def test_the_keyboards_place_is_seen_and_is_not_the_open_page(browser, server):
    visit = Visit(browser, server)
    visit.open("Units")
    links = visit.page.get_by_test_id("stSidebar").get_by_role("link")
    look = "e => { const s = getComputedStyle(e); return [s.outlineStyle, s.outlineWidth]; }"
    (current,) = [
        link for link in links.all() if link.get_attribute("href").rsplit("/", 1)[-1] == "Units"
    ]
    before = current.evaluate(look)
    visit.page.keyboard.press("Tab")
    for _ in range(12):
        if visit.page.evaluate("document.activeElement.closest('.stSidebar a') !== null"):
            break
        visit.page.keyboard.press("Tab")
    focused = visit.page.evaluate(f"({look})(document.activeElement)")
    assert focused[0] == "solid" and focused[1] != "0px"
    assert focused != before, "the open page looks like the keyboard's place"
    visit.page.close()
