"""The structure rules: who may import whom, and what the repository must not hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = [
    ["core.errors", "core.escape", "core.names", "core.files", "core.versions"],
    ["core.geometry", "core.intervals", "core.settings"],
    ["core.store"],
    ["core.datasets", "core.models"],
    ["core.dissect"],
    ["core.knowledge"],
    ["core.explain"],
    ["core.manipulate", "core.baselines"],
    [
        "core.run",
        "core.estimate",
        "core.jobs",
        "core.tables",
        "core.predictions",
        "core.named_sets",
    ],
    ["core.browse", "core.figures", "core.report", "core.api"],
    ["core.reproduce"],
    ["core.cli", "core.__main__"],
]
"""From the ground up; a module imports from its own floor or below (docs: design, floors)."""

FLOOR_OF = {name: k for k, names in enumerate(FLOORS) for name in names}


def floor(module: str) -> int | None:
    """Number of the floor a module stands on, by its longest listed prefix."""
    parts = module.split(".")
    for k in range(len(parts), 0, -1):
        known = FLOOR_OF.get(".".join(parts[:k]))
        if known is not None:
            return known
    return None


def imports(file: Path) -> set[str]:
    """Dotted names of everything a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return found


def files(*folders: str) -> list[Path]:
    tops = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    return sorted(tops)


@pytest.mark.parametrize("file", files("core"), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_imports_downwards_and_never_streamlit(file):
    own = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    names = imports(file)
    assert not [n for n in names if n.split(".")[0] in ("streamlit", "pages", "app")], own
    if own == "core":
        return
    here = floor(own)
    assert here is not None, f"{own} stands on no floor: add it to FLOORS"
    for name in names:
        there = floor(name)
        if there is not None:
            assert there <= here, f"{own} imports {name} from a floor above"


@pytest.mark.parametrize("file", [ROOT / "app.py", *files("pages")], ids=lambda p: p.name)
def test_pages_never_import_torch(file):
    heads = {name.split(".")[0] for name in imports(file)}
    assert not heads & {"torch", "torchvision", "pykeen", "duckdb"}
    assert "st.navigation" not in file.read_text(encoding="utf-8")


def test_most_pages_open_without_pytorch():
    """It takes seconds to import: only what changes or runs the network may wait for it."""
    names = set()
    for file in [ROOT / "app.py", *files("pages")]:
        if file.name not in ("5_Disable.py", "6_Retrain.py"):
            # What a page imports while it is loaded; functions may ask for more.
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("core"):
                    names.add(node.module)
    code = f"import sys\nfor name in {sorted(names)}: __import__(name)\n"
    code += "assert not {'torch', 'numba', 'pykeen', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("file", sorted((ROOT / "pages").glob("*.py")), ids=lambda p: p.name)
def test_pages_call_the_shared_frame(file):
    names = imports(file)
    assert any(name.startswith("pages.parts.frame") for name in names)


def test_the_repository_holds_no_paths_hosts_or_large_files():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        assert path.stat().st_size <= 4 * 2**20, f"{name} is over 4 MiB"
        if (
            path.suffix in (".py", ".md", ".toml", ".txt", ".lock", ".tsv", "")
            and path.name != "LICENSE"
        ):
            text = path.read_text(encoding="utf-8")
            machine = re.search(r"(?<![\w.])/(work|farm|root|home)/\w", text)
            assert not machine, f"{name}: a path of one machine: {machine}"


def test_nothing_loads_code_from_data():
    pattern = re.compile(
        r"weights_only\s*=\s*False|pickle\.loads?\(|allow_pickle\s*=\s*True|eval\("
    )
    for file in files("core", "pages"):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert not pattern.search(line.replace(".eval()", "")), f"{file.name}: {line.strip()}"
