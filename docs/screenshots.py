"""Take screenshots of a running app: ``python docs/screenshots.py URL FOLDER [--run RUN]``.

Every page at 1440 × 900 and at 800 px, light and dark, in the system's Chromium.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

VIEWS = {
    "overview": "",
    "scenes": "Scenes",
    "matrix": "Scenes?view=matrix",
    "image": "Scenes?image={image}",
    "units": "Units",
    "unit": "Units?unit={unit}",
    "search": "Units?concept={concept}",
    "explain": "Explain?image={image}",
    "evidence": "Explain?image={image}&strategy=whole_layer&see={concept}",
    "own-photo": "Explain?view=own",
    "concepts": "Concepts",
    "graph": "Concepts?scene={scene}",
    "find": "Concepts?view=find&concept={concept}",
    "names": "Concepts?view=names",
    "disable": "Disable?of={scene}&split=test&off={off}",
    "groups": "Concepts?view=groups",
    "map": "Units?view=map",
    "retrain": "Retrain",
    "compare": "Compare",
    "runs": "Runs",
}
SIZES = {"wide": (1440, 900), "narrow": (800, 900)}


def settle(page: Page) -> None:
    """Wait until the page is drawn: the script has run through, no skeleton, pictures loaded."""
    page.wait_for_selector("h1", timeout=120_000)
    for _ in range(2):
        page.wait_for_function(
            """() => document.querySelector('[data-testid="stApp"]')
                    ?.getAttribute('data-test-script-state') === 'notRunning'
                && !document.querySelector('[data-testid="stSkeleton"]')
                && ![...document.images].some((image) => !image.complete)""",
            timeout=120_000,
        )
        page.wait_for_timeout(900)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", default="")
    parser.add_argument("--image", default="0")
    parser.add_argument("--unit", default="0")
    parser.add_argument("--concept", default="")
    parser.add_argument("--scene", default="")
    parser.add_argument("--off", default="", help="units, as 3-17-201")
    parser.add_argument("--only", nargs="*", default=list(VIEWS))
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--schemes", nargs="*", default=["light", "dark"])
    parser.add_argument("--whole", action="store_true", help="the page's whole length")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for scheme in given.schemes:
            for size in given.sizes:
                width, height = SIZES[size]
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=scheme
                )
                for name in given.only:
                    tail = VIEWS[name].format(
                        image=given.image,
                        unit=given.unit,
                        concept=given.concept,
                        scene=given.scene,
                        off=given.off,
                    )
                    if given.run:
                        tail += ("&" if "?" in tail else "?") + f"run={given.run}"
                    page.set_viewport_size({"width": width, "height": height})
                    page.goto(f"{given.url.rstrip('/')}/{tail}")
                    settle(page)
                    if given.whole:
                        # Streamlit scrolls inside the window, so the window is made as long.
                        length = page.evaluate(
                            "document.querySelector('.stMainBlockContainer').offsetHeight"
                        )
                        page.set_viewport_size({"width": width, "height": int(length) + 40})
                        settle(page)
                    page.screenshot(path=given.folder / f"{name}-{size}-{scheme}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
