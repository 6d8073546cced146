"""The page Glossary, and the terms in texts of pages that lead to it."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from core.foundation.glossary import GLOSSARY, entry
from pages.parts.registry import pages
from pages.parts.terms import linked
from tests.pages.showing import show, text_of

PAGE = "pages/10_Glossary.py"
LINK = re.compile(r"\[([^\]]*)\]\((Glossary[^)]*)\)")


def test_it_stands_last_and_shows_every_term():
    assert [page.name for page in pages()][-2:] == ["Runs", "Glossary"]
    said = text_of(show(PAGE))
    for one in GLOSSARY:
        assert f"**{one.term}**" in said and one.meaning in said


def test_a_term_is_shown_first_and_a_word_is_looked_for():
    said = text_of(show(PAGE, term="negative-neurons", word="oracle"))
    assert said.index("**negative neurons**") < said.index("**oracle**")
    assert "**accuracy**" not in said
    at = show(PAGE, term="negative-neuron")
    assert "no term “negative-neuron”" in text_of(at)
    assert "No term and no meaning" in text_of(show(PAGE, word="no such word"))


@pytest.mark.parametrize(
    "text, terms",
    [
        ("The IoU of a unit", ["iou"]),
        ("Negative neurons by contribution score", ["negative-neurons", "contribution-score"]),
        ("accuracy, Accuracy and accuracies", ["accuracy"]),
        ("`IoU` and $IoU$, [SCC](Concepts), :material/margin:", []),
        ("p-value (permutation) 0.1", ["p-value-permutation"]),
        ("IoU denominator: all pixels", ["iou-denominator"]),
        ("a smaller scc and inaccuracy", []),
    ],
)
def test_terms_are_linked_once_and_never_in_code_or_links(text, terms):
    found = LINK.findall(linked(text))
    assert [parse_qs(urlsplit(link).query)["term"][0] for _, link in found] == terms
    assert LINK.sub(r"\1", linked(text)) == text


@pytest.mark.parametrize(
    "page, more",
    [
        ("app.py", {}),
        ("pages/2_Units.py", {"unit": "3", "serves": "1"}),
        ("pages/4_Explain.py", {}),
    ],
)
def test_terms_on_pages_lead_to_entries(page, more, run, root, monkeypatch):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    monkeypatch.setenv("UNITSCOPE_CACHE", str(run.path.parent))
    at = show(page, run=run.digest, **more)
    said = "\n".join(str(e.value) for kind in ("caption", "header") for e in getattr(at, kind))
    links = LINK.findall(said)
    assert links
    for _, link in links:
        address = parse_qs(urlsplit(link).query)
        assert entry(address["term"][0]) is not None and address["run"] == [run.digest]
