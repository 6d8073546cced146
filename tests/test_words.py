"""One vocabulary: the terms of the field and the paper; words that were put in their place are
gone from pages, messages and documents, and headings and captions lead to the glossary."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from core.foundation.glossary import GLOSSARY, entry, found
from docs.terms import FILE, current

ROOT = Path(__file__).resolve().parents[1]

OLD = {
    r"\blit\b": "active",
    r"\b[Ss]ee other things\b": "negative neurons",
    r"\b(is|are|be) made of\b(?! (bare|files))|[Ww]hat .{0,30}\bmade of\b": "core concepts",
    r"\bmet\b": "detected",
    r"\b[Ss]een beside\b|\bBeside it\b": "detected, not core",
    r"\b[Rr]eckon": "compute",
    r"\b[Tt]ak(e|es|en|ing)( \S+){0,3} away\b": "remove, export",
    r"\b[Pp]ut away\b": "dismiss",
    r"\bat work\b": "running",
    r"\b[Tt]old (by|apart)\b": "computed by, distinguished",
    r"\b([Tt]aken for|took (it|them|each image) for|so taken)\b": "predicted as",
    r"(%|\{\}) sure\b": "confidence",
    r"\b[Ss]econd opinion\b": "SVM on explanations",
    r"\bthey part\b": "disagree",
    r"\b[Ww]ork(ed|s)? (it )?out\b": "compute",
    r"\b[Ii]t harms\b|\bserves (and|or) harms\b|\bhelps and h(arms|inders)\b": "negative score for",
}
"""Old word → what is said in its place."""

KEYS = {"lit", "met"}
"""Not words but keys: parameters of addresses and fields of files that are out in the world."""

# English of the drawn world, where lamps do light a room: it is frozen.
WORLD = ROOT / "core" / "rooms" / "drawing"


def sources() -> list[Path]:
    files = [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "core").rglob("*.py")]
    return sorted(file for file in files if WORLD not in file.parents)


def sentences(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, text) of string literals, f-strings whole with {} for what is put in; documentation
    strings left out."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    documentation |= {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    said, within = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
            within |= {id(part) for part in node.values}
            said.append((node.lineno, "".join(parts)))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) not in documentation | within and node.value not in KEYS:
            said.append((node.lineno, node.value))
    return said


def old_words(text: str) -> list[str]:
    flat = " ".join(text.split())
    return [f"“{m[0]}” (say: {new})" for old, new in OLD.items() for m in re.finditer(old, flat)]


@pytest.mark.parametrize("file", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_old_words_are_gone_from_code(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    wrong = [f"{n}: {word}" for n, text in sentences(tree) for word in old_words(text)]
    assert not wrong, "\n".join(wrong)


DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("file", DOCS, ids=lambda p: p.name)
def test_old_words_are_gone_from_documents(file):
    text = re.sub(r"`[^`\n]*`", "", file.read_text(encoding="utf-8"))
    if file.name == "architecture.md":  # what is quoted of frozen code
        text = re.sub(r"\| \[\w+\]\(\.\./core/rooms/drawing/.*", "", text)
    assert not old_words(text)


def test_old_words_are_gone_from_the_notebook():
    cells = json.loads((ROOT / "docs" / "walkthrough.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not old_words(" ".join("".join(cell["source"]) for cell in cells))


def test_the_scan_reads_f_strings_whole_and_leaves_keys_and_documentation_alone():
    tree = ast.parse('"""lit"""\nx = f"{a:.0%} sure"\ny = get("lit")\nz = "unit 3 is lit"')
    assert [word for _, text in sentences(tree) for word in old_words(text)] == [
        "“{} sure” (say: confidence)",
        "“lit” (say: active)",
    ]


# -- the glossary -----------------------------------------------------------------------------


def test_the_document_is_current():
    assert FILE.read_text(encoding="utf-8") == current(), "say `make docs`"


def test_every_term_is_there_once_and_says_where_more_is():
    slugs = [one.slug for one in GLOSSARY]
    assert len(set(slugs)) == len(slugs)
    spelt = [word.lower() for one in GLOSSARY for word in one.spellings]
    assert len(set(spelt)) == len(spelt)
    for one in GLOSSARY:
        assert one.meaning.endswith((".", "*")), one
        assert not one.more or (ROOT / "docs" / one.more).is_file(), one


def test_terms_are_found_by_their_words():
    assert found("consistency")[0].term == "CM"
    assert found("neuron")[0].slug == "negative-neurons"
    assert entry("iou-denominator").term == "IoU denominator"
    assert entry("nothing") is None and found("no such word") == []


LEAD = [
    "contribution score",
    "negative neurons",
    "concept selection strategy",
    "IoU denominator",
    "confusion matrix",
    "top-5 accuracy",
    "p-value (permutation)",
    "newly correct",
    "predictions changed",
    "not significant",
]


@pytest.mark.parametrize("term", LEAD)
def test_the_terms_of_the_field_are_defined(term):
    assert any(one.term == term for one in GLOSSARY)


def test_pages_write_headings_and_captions_by_what_links_their_terms():
    wrong = []
    for file in [ROOT / "app.py", *(ROOT / "pages").rglob("*.py")]:
        text = file.read_text(encoding="utf-8")
        # What stands below `draw` says how work goes, and no term.
        if file.name in ("draw.py", "10_Glossary.py") or not re.search(r"\bdraw\b", text):
            continue
        for node in ast.walk(ast.parse(text)):
            plain = isinstance(node, ast.Attribute) and node.attr in ("caption", "subheader")
            if plain and isinstance(node.value, ast.Name) and node.value.id == "st":
                wrong.append(f"{file.name}:{node.lineno}")
    assert not wrong, f"draw.caption and draw.subheader link terms: {wrong}"
