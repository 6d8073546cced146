"""The worked notebook: its cells run in order, and their outputs stored in it.

``python docs/notebook.py`` runs docs/walkthrough.ipynb on the newest run of the cache and
stores what each cell shows; Jupyter is not needed. The tests use :func:`execute`.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).with_name("walkthrough.ipynb")
sys.path.insert(0, str(NOTEBOOK.parents[1]))


def execute(source: str, namespace: dict[str, Any]) -> tuple[str, Any]:
    """Run a cell: what it printed, and the value of its last line where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), namespace)
        value = None
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)
    return printed.getvalue(), value


def code_cells(path: Path = NOTEBOOK) -> list[dict[str, Any]]:
    """The code cells of a notebook, in order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def _outputs(number: int, printed: str, value: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    if printed:
        lines = printed.splitlines(True)
        made.append({"name": "stdout", "output_type": "stream", "text": lines})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(True)
        made.append(
            {
                "data": data,
                "execution_count": number,
                "metadata": {},
                "output_type": "execute_result",
            }
        )
    return made


def main() -> None:
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {}
    number = 0
    for cell in book["cells"]:
        if cell["cell_type"] != "code":
            continue
        number += 1
        cell["execution_count"] = number
        cell["outputs"] = _outputs(number, *execute("".join(cell["source"]), namespace))
    NOTEBOOK.write_text(json.dumps(book, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{number} cells run")


if __name__ == "__main__":
    main()
