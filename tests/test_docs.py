"""The documents: generated parts are current, links lead somewhere, commands are accepted."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.cli import parser
from core.cli.reference import reference
from docs.modules import current, first_line
from tests.test_structure import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WIDTH = 100

each_document = pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)


def prose_and_code(text: str) -> tuple[list[str], list[str]]:
    """Lines outside and inside ``` blocks."""
    prose: list[str] = []
    code: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        else:
            (code if inside else prose).append(line)
    return prose, code


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a document."""
    found: dict[str, int] = {}
    for line in prose_and_code(text)[0]:
        if heading := re.match(r"#+ +(.*)", line):
            plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            # As GitHub does, punctuation goes and blanks become hyphens.
            name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            found[name] = found.get(name, 0) + 1
    named = set(re.findall(r'<a id="([^"]+)">', text))
    return named | {f"{n}-{k}" if k else n for n, times in found.items() for k in range(times)}


def links(document: Path) -> list[str]:
    """Targets of a document's links and pictures, other hosts left out."""
    text = "\n".join(prose_and_code(document.read_text(encoding="utf-8"))[0])
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


# -- what is generated or repeated ------------------------------------------------------------


def test_the_reference_of_commands_is_current():
    there = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert there == reference(), "say `make docs`"


def test_every_module_of_core_is_named_and_said_what_it_does():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert text == current(text), "say `make docs`"
    for module in (ROOT / "core").rglob("*.py"):
        if module.name != "__init__.py":
            assert first_line(module).endswith((".", ":", "?")), f"{module} says nothing of itself"
            assert f"](../{module.relative_to(ROOT).as_posix()}) |" in text


def test_the_plan_names_every_package_in_order():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == PACKAGES


FORMULAS = re.findall(
    r"^\| (.+?) \| .+? \| `(core\.[\w.]+)` \| \[(\S+)\]",
    (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"),
    re.M,
)


def numbered(text: str) -> set[str]:
    """Equations, tables and figures that a text names: "Eqs. 6 to 8" → Eq. 6, Eq. 7, Eq. 8."""
    found = set()
    kinds = {"Eq": "Eq. ", "Fi": "Fig. ", "Ta": "Table "}
    listed = r"\b(Eqs?\.|Figs?\.|Figures?|Tables?)\s+(\d+(?:(?:\s*(?:,|to|and|–)\s*)+\d+)*)"
    for kind, names in re.findall(listed, text):
        for first, last in re.findall(r"(\d+)(?:\s*(?:to|–)\s*(\d+))?", names):
            found |= {f"{kinds[kind[:2]]}{n}" for n in range(int(first), int(last or first) + 1)}
    return found


def test_names_of_equations_are_read():
    assert numbered("(Eqs. 6 to 8), Figs. 3\n and 4, Table 5") == {
        *("Eq. 6", "Eq. 7", "Eq. 8", "Fig. 3", "Fig. 4", "Table 5")
    }


@pytest.mark.parametrize("named, dotted, file", FORMULAS)
def test_formulas_of_the_paper_are_where_the_table_says(named, dotted, file):
    module = file.removesuffix(".py").replace("/", ".")
    found = import_module(module)
    for part in dotted.removeprefix(f"{module}.").split("."):
        found = getattr(found, part)
    told = found.__doc__ or ""
    if re.match(r"(Eq\.|Table|Fig\.) \d", named):
        assert named in numbered(told), f"the docstring of {dotted} does not name {named}"
    else:
        assert named in told, f"the docstring of {dotted} does not name {named}"


def test_every_equation_table_and_measured_figure_has_a_function():
    there = {named for named, _, _ in FORMULAS}
    assert there >= {f"Eq. {n}" for n in range(1, 11)} | {f"Table {n}" for n in range(1, 7)}
    assert there >= {"Fig. 3", "Fig. 4", "Fig. 5"}


# -- form and links ---------------------------------------------------------------------------


@each_document
def test_lines_are_at_most_100_characters(document):
    """Tables, code and what cannot be broken apart."""
    for line in prose_and_code(document.read_text(encoding="utf-8"))[0]:
        if not line.lstrip().startswith("|") and " " in line.lstrip(" -*>").strip():
            assert len(line) <= WIDTH, f"{len(line)} characters: {line}"


@each_document
def test_links_lead_somewhere(document):
    for target in links(document):
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        assert there.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), (
                f"{target}: no such heading"
            )


def test_every_document_is_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        seen.add(document)
        for target in links(document):
            there = (document.parent / target.partition("#")[0]).resolve()
            if there.suffix == ".md" and there not in seen:
                waiting.append(there)
    assert not set(DOCS) - seen, sorted(p.name for p in set(DOCS) - seen)


# -- what they tell a reader to type -------------------------------------------------------------


def typed(document: Path) -> list[str]:
    """Commands of a document's code blocks, comments and continued lines resolved."""
    code = "\n".join(prose_and_code(document.read_text(encoding="utf-8"))[1])
    lines = code.replace("\\\n", " ").splitlines()
    return [part.strip() for line in lines for part in line.partition(" #")[0].split("&&")]


@each_document
def test_commands_are_accepted_by_the_parser(document):
    checked = parser()
    for line in typed(document) if document.name != "commands.md" else ():
        given = re.match(r"(?:\S+/)?(?:python -m core|unitscope)(?: (?!app\b)(.+))$", line)
        if given and not re.search(r"[\[…]|\.\.\.", line):
            try:
                checked.parse_args(shlex.split(given[1]))
            except SystemExit as err:
                assert err.code == 0, line


@each_document
def test_modules_and_targets_that_are_named_exist(document):
    text = document.read_text(encoding="utf-8")
    for module in re.findall(r"python -m ((?:core|pages|benchmarks)[\w.]*)", text):
        assert find_spec(module.rstrip(".")), module
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert target in targets, f"make {target}"
    for file in re.findall(r"`((?:core|pages|tests|benchmarks|docs|data)/[\w./-]*\w)`", text):
        assert (ROOT / file).exists(), file
