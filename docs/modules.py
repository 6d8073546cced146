"""The table of modules in docs/architecture.md: ``python docs/modules.py`` writes it anew.

Each line is the first sentence of a module's docstring.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- Modules: generated from docstrings by `make docs`; edit those instead. -->\n"
END = "<!-- End of the modules. -->\n"


def first_line(module: Path) -> str:
    """What a module says of itself, as Markdown for a cell; "" where it says nothing."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    line = " ".join(text.split("\n\n")[0].split())
    line = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", line).replace("``", "`")
    return line.replace("|", "\\|").replace("<", "&lt;")


def table() -> str:
    """The modules of core, package by package, between the two marks."""
    lines = [BEGIN]
    package = None
    for module in sorted((ROOT / "core").rglob("*.py"), key=lambda p: (p.parent, p.stem)):
        said = first_line(module)
        if not said:
            continue
        if module.parent != package:
            package = module.parent
            name = str(package.relative_to(ROOT)).replace("/", ".")
            lines += [f"\n**{name}**\n", "| module | what it does |", "| --- | --- |"]
        path = module.relative_to(ROOT).as_posix()
        lines.append(f"| [{module.stem}](../{path}) | {said} |")
    return "\n".join([*lines, "", END]).replace(BEGIN + "\n\n", BEGIN + "\n")


def current(text: str) -> str:
    """The text of docs/architecture.md with the table of today."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return before + table() + after


if __name__ == "__main__":
    FILE.write_text(current(FILE.read_text(encoding="utf-8")), encoding="utf-8")
