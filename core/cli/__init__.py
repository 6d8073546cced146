"""The command line: ``python -m core VERB``. With ``--json`` the last line is one JSON object.

Each module beside this one has an ``add`` that makes its verbs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from core.cli import (
    annotate,
    bench,
    datasets,
    explain,
    export,
    formulas,
    fusion,
    get,
    knowledge,
    manipulate,
    reproduce,
    retrain,
    runs,
)
from core.cli.common import Answer
from core.errors import UnitscopeError
from core.files import strict_json
from core.models.trust import allow_python

VERBS = (
    runs, datasets, get, annotate, formulas, knowledge, fusion, explain, manipulate, retrain,
    export, reproduce, bench,
)  # fmt: skip
"""Modules of verbs, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 2 a mistake in the input, 130 stopped."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.allow_python:
        allow_python()
    try:
        facts, text = given.verb(given)
    except UnitscopeError as err:
        if getattr(given, "json", False):
            print(strict_json({"error": str(err)}))
        print(f"error: {err}", file=sys.stderr)
        return 130 if type(err).__name__ == "Stopped" else 2
    except BrokenPipeError:
        return 0
    try:
        print(strict_json(facts) if given.json else text, flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough (`| head`). Python would try once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m core", description="Unitscope: dissect image classifiers."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(
        name: str, do: Callable[[argparse.Namespace], Answer], text: str
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="one JSON object on the last line")
        sub.add_argument(
            "--allow-python", action="store_true",
            help="import the code that a run or another file names (python:…); trust it first",
        )  # fmt: skip
        sub.set_defaults(verb=do)
        return sub

    for module in VERBS:
        module.add(verb)
    return parser
