"""Results of every computation on small fixed input, and what is recorded of them."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from pathlib import Path


def code_digest(files: Sequence[Path]) -> str:
    """Hex digest of what Python files compute: comments, docstrings and layout do not count.

    Only node types and fields that are set go in, so that Python versions, which add fields to
    the syntax tree, agree.
    """
    h = hashlib.sha256()

    def visit(node: object) -> None:
        if isinstance(node, ast.AST):
            h.update(type(node).__name__.encode() + b"(")
            for name, value in ast.iter_fields(node):
                if name in ("kind", "type_comment", "ctx") or value is None or value == []:
                    continue
                if name == "body" and isinstance(value, list):
                    value = [
                        v for v in value
                        if not (isinstance(v, ast.Expr) and isinstance(v.value, ast.Constant))
                    ]  # fmt: skip
                h.update(name.encode() + b"=")
                visit(value)
            h.update(b")")
        elif isinstance(node, list):
            for item in node:
                visit(item)
                h.update(b",")
        else:
            h.update(repr(node).encode())

    for file in files:
        visit(ast.parse(file.read_text(encoding="utf-8")))
    return h.hexdigest()
