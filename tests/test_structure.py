"""The structure rules: who may import whom, and what the repository must not hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = [
    "foundation",
    "runs",
    "datasets",
    "models",
    "rooms",
    "annotate",
    "downloads",
    "knowledge",
    "dissect",
    "merging",
    "explain",
    "ablation",
    "retrain",
    "attribution",
    "labelling",
    "dictionary",
    "graphs",
    "directions",
    "paper",
    "views",
    "figures",
    "reproduce",
    "api",
    "cli",
    "__main__",
]
"""From the ground up: a package imports from those before it alone, so that there is no circle
(docs/architecture.md)."""


def package(module: str) -> str:
    """The package of core that a dotted name lies in; "" outside core and for core itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "core" and len(parts) > 1 else ""


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
    here = package(own)
    assert here in PACKAGES, f"{here} is no known package: add it to PACKAGES"
    for name in names:
        there = package(name)
        if there in PACKAGES:
            assert PACKAGES.index(there) <= PACKAGES.index(here), f"{own} imports {name}"


def test_benchmarks_import_each_other_without_a_circle():
    names = {file.stem for file in files("benchmarks")}
    graph = {
        file.stem: {name.split(".")[1] for name in imports(file) if name.startswith("benchmarks.")}
        & names
        for file in files("benchmarks")
    }
    assert list(TopologicalSorter(graph).static_order())


def test_packages_named_are_there():
    there = {p.stem for p in (ROOT / "core").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert set(PACKAGES) == there - {"__init__", "__pycache__"}


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


LONG = 80
"""Lines that a function may have, its docstring included; the drawings of the frozen world may be
longer."""


def long_functions(file: Path) -> dict[str, int]:
    """Name → lines of the functions that have more than :data:`LONG`."""
    name = str(file.relative_to(ROOT))
    return {
        f"{name}:{node.name}": node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno - node.lineno >= LONG
    }


def test_functions_fit_on_a_screen():
    found: dict[str, int] = {}
    for file in [ROOT / "app.py", *files("core", "pages")]:
        if "drawing" not in file.parts:
            found |= long_functions(file)
    assert not found, f"cut these in parts whose names tell what they do: {found}"


MOST_PARAMETERS = 10


def test_functions_have_few_parameters():
    """A kernel of Numba takes arrays alone, and as many as it needs."""
    for file in files("core", "pages"):
        if "drawing" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if any("jit" in ast.unparse(one) for one in node.decorator_list):
                    continue
                given = node.args
                count = len(given.posonlyargs + given.args + given.kwonlyargs)
                told = f"{file.name}: {node.name} takes {count}: make it a dataclass"
                assert count <= MOST_PARAMETERS, told


UNCHECKED = {
    "core/foundation/plain.py",  # which gives it two names
    "core/dictionary/train.py",  # the state of PyTorch's optimiser
}
"""Files in which ``dict[str, Any]`` may stand."""


def test_results_and_requests_have_types():
    """A `dict[str, Any]` says nothing of what is in it: results are dataclasses, rows of files
    TypedDicts, and what nobody has checked yet is `Json`."""
    found = {
        str(file.relative_to(ROOT))
        for file in [ROOT / "app.py", *files("core", "pages")]
        if "dict[str, Any]" in file.read_text(encoding="utf-8")
    }
    assert found == UNCHECKED


def test_paths_of_persons_are_expanded_in_one_place():
    """`~nobody` is a mistake that is told, and no error of Python's."""
    found = [
        str(file.relative_to(ROOT))
        for file in files("core", "pages")
        if ".expanduser(" in file.read_text(encoding="utf-8")
    ]
    assert found == ["core/foundation/files.py"]


def test_the_formatter_decides_the_layout():
    marked = [
        str(file.relative_to(ROOT))
        for file in files("core", "pages", "tests", "benchmarks")
        if re.search(r"# fmt: (skip|off)", file.read_text(encoding="utf-8"))
    ]
    assert not [name for name in marked if name != "tests/test_structure.py"]


def test_views_answer_with_types():
    """What pages ask for is no `Json`, but for what is handed on to be written."""
    for file in files("core/views"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                loose = "Json" in ast.unparse(node.returns) and node.name != "to_json"
                assert not loose, f"{file.name}: {node.name} answers with a Json"


def test_files_that_are_begun_first_are_there():
    assert not [name for name in LONGEST if not (ROOT / "tests" / name).is_file()]


def test_the_help_of_the_command_line_needs_no_heavy_package():
    """It is shown at once: what a verb needs is imported when the verb runs."""
    heavy = {"numpy", "pandas", "duckdb", "pyarrow", "torch", "scipy"}
    code = f"import sys; from core.cli import parser; parser(); print({heavy} & set(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "set()"
