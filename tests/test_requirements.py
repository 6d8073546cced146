"""What is installed: every requirement is locked with digests, listed in the docs, and used."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.test_structure import files, imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn", "vl_convert": "vl-convert-python"}
"""Import name → package, where they differ."""


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


def test_what_the_code_imports_is_a_direct_requirement():
    known = {**wanted("requirements"), **wanted("requirements-optional")}
    used = {
        name.split(".")[0]
        for file in [ROOT / "app.py", *files("core", "pages")]
        for name in imports(file)
    }
    own = {"core", "pages", "tests", "benchmarks", ""}
    foreign = {
        PACKAGES.get(n, n) for n in used if n not in sys.stdlib_module_names and n not in own
    }
    assert foreign <= set(known), sorted(foreign - set(known))
