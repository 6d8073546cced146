"""Pages of the app, run by Streamlit's AppTest, and what is on them."""

from __future__ import annotations

import json
import re
from html import escape, unescape
from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]


def show(page: str, **address: str) -> AppTest:
    """A page opened at an address, on the app as a whole, as the server runs it."""
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in address.items():
        at.query_params[name] = value
    if page != "app.py":
        at.switch_page(page)
    at.run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def text_of(at: AppTest) -> str:
    """All that a page says, widgets and charts aside; links to the glossary are read as text."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "warning", "info", "code")
    said = [str(e.value) for kind in kinds for e in getattr(at, kind)]
    said += [e.proto.body for e in at.get("html")]
    text = "\n".join([*said, *(f"{m.label} {m.value}" for m in at.metric)])
    return re.sub(r"\[([^\]]*)\]\(Glossary[^)]*\)", r"\1", text)


def specs(at: AppTest) -> list[dict]:
    """Vega-Lite specs of the charts on a page, with the titles that stand above them."""
    found = [json.loads(c.proto.spec) for c in at.get("vega_lite_chart")]
    above = [e.proto.body for e in at.get("html") if 'class="chart-title"' in e.proto.body]
    for spec in found:
        spec["title"] = spec["usermeta"]["title"]
        words = [spec["title"]["text"], *spec["title"]["subtitle"]]
        assert any(all(escape(word) in body for word in words) for body in above), words
    return found


def matrix_of(at: AppTest) -> tuple[str, dict[tuple[str, str], str]]:
    """The matrix on a page: its title with subtitle, and (row, column) → what the cell says."""
    (body,) = [e.proto.body for e in at.get("html") if 'class="matrix"' in e.proto.body]
    title = [e.proto.body for e in at.get("html") if 'class="chart-title"' in e.proto.body]
    heads = re.findall(r'<th scope="col">.*?>([^<]*)</', body)
    cells = {}
    for line in re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", body):
        name = re.findall(r'<th scope="row">.*?>([^<]*)</', line)[0]
        for head, cell in zip(heads, re.findall(r"<td.*?</td>", line), strict=True):
            text = re.sub("<[^>]*>", "", cell)
            if text:
                cells[unescape(name), unescape(head)] = text
    return "\n".join(title), cells
