"""The pages of the app: their titles and icons, in the order of the numbers of their files.

Streamlit shows the files of the folder pages/ and no others. So a page of one's own is a file
there, ``8_Mine.py``, of as few lines as one likes: it may import the rest from an installed
package. Without a row it is listed by its file's name; a row gives it a title and an icon.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.foundation.registry import Registry, Row

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Page(Row):
    """A page: `name` is its title in the sidebar, `form` its file, relative to the checkout.

    icon : a name of Google's Material Symbols.
    """

    icon: str = "article"


PAGES: Registry[Page] = Registry(
    "page",
    "unitscope.pages",
    (
        Page("Overview", "app.py", "a run at a glance", icon="home"),
        Page("Scenes", "pages/1_Scenes.py", "photos and predictions", icon="photo_library"),
        Page("Units", "pages/2_Units.py", "what each unit detects", icon="grid_view"),
        Page("Concepts", "pages/3_Concepts.py", "core concepts of scenes", icon="category"),
        Page("Explain", "pages/4_Explain.py", "why a prediction", icon="question_mark"),
        Page("Disable", "pages/5_Disable.py", "predictions without units", icon="toggle_off"),
        Page("Retrain", "pages/6_Retrain.py", "training on concepts", icon="model_training"),
        Page("Compare", "pages/7_Compare.py", "runs side by side", icon="compare"),
        Page("Reliance", "pages/8_Reliance.py", "what scenes rest on", icon="foundation"),
        Page("Runs", "pages/9_Runs.py", "start, watch and delete runs", icon="storage"),
        Page("Glossary", "pages/10_Glossary.py", "what the terms mean", icon="menu_book"),
    ),
    Page,
)


def pages() -> list[Page]:
    """The pages that are there, in the order of the numbers."""
    rows = {page.form: page for page in PAGES}
    found = []
    for file in [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"), key=_place)]:
        form = file.relative_to(ROOT).as_posix()
        title = file.stem.split("_", 1)[-1].replace("_", " ")
        found.append(rows.get(form) or Page(title, form, ""))
    return found


def _place(file: Path) -> tuple[float, str]:
    """By the number a file's name begins with, as Streamlit sorts: 10 behind 9."""
    number = file.name.split("_", 1)[0]
    return (int(number) if number.isdigit() else float("inf"), file.name)
