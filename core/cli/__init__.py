"""The command line: ``python -m core VERB``. With ``--json`` the last line is one JSON object.

Each module beside this one has an ``add`` that makes its verbs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from core import __version__
from core.cli import (
    ablation,
    annotate,
    bench,
    completion,
    datasets,
    dictionary,
    directions,
    explain,
    export,
    find,
    formulas,
    get,
    knowledge,
    labels,
    merging,
    reliance,
    reproduce,
    retrain,
    rooms,
    runs,
    truth,
    vrx,
)
from core.cli.common import Answer, say
from core.cli.parser import SHARED, Parser
from core.foundation.errors import UnitscopeError, allow_empty, first_line
from core.foundation.files import strict_json
from core.foundation.names import check_words, printable
from core.foundation.progress import Stopped
from core.foundation.trust import allow_python

PROG = "python -m core"

VERBS = {
    "Data, networks, runs": (runs, find, datasets, rooms, get),
    "What units detect": (annotate, labels, formulas, dictionary, directions),
    "Core concepts": (knowledge, merging),
    "Why an answer": (explain, truth, vrx, reliance),
    "Disable and re-train": (ablation, retrain),
    "Results": (export, reproduce, bench, completion),
}
"""Heading of the help → modules of its verbs."""


def main(
    arguments: Sequence[str] | None = None, prog: str = PROG, epilog: str | None = None
) -> int:
    """Run one verb; returns the exit status: 0 done, 2 a mistake in the input or no room, 3 an
    unforeseen error, 130 stopped.

    prog, epilog : the command's own name, and a last line of its help.
    """
    given = parser(prog, epilog).parse_args(arguments)
    if given.allow_python:
        allow_python()
    with _interrupts() as pressed:
        try:
            check_words(sys.argv[1:] if arguments is None else arguments)
            with allow_empty(say) if given.allow_empty else nullcontext():
                facts, text = given.verb(given)
            print(strict_json(facts) if given.json else printable(text), flush=True)
        except BrokenPipeError:
            # Whoever reads has seen enough (`| head`). Python would try once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (Exception, KeyboardInterrupt) as err:
            return _failed(KeyboardInterrupt() if pressed else err, given)
    return 0


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yields a list that Ctrl-C fills: a compiled package that is just being imported makes an
    ImportError of the KeyboardInterrupt."""
    pressed: list[int] = []

    def press(signum: int, frame: Any) -> None:
        pressed.append(signum)
        signal.default_int_handler(signum, frame)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _failed(err: BaseException, given: argparse.Namespace) -> int:
    """Say in a sentence what ended a verb; returns the exit status."""
    if isinstance(err, UnitscopeError):
        said, status = str(err), 130 if isinstance(err, Stopped) else 2
    elif isinstance(err, KeyboardInterrupt):
        said, status = (
            "stopped; nothing was changed, or the same command resumes what was saved",
            130,
        )
    elif isinstance(err, MemoryError) or type(err).__name__ == "OutOfMemoryException":
        said, status = f"the memory does not suffice ({str(err) or 'no more was given'})", 2
    elif type(err).__module__.endswith("duckdb"):
        said, status = first_line(err), 2
    elif isinstance(err, OSError):
        where = f": {err.filename}" if err.filename else ""
        said, status = f"{err.strerror or err}{where}", 2
    else:
        # No mistake that anybody foresaw: whoever reports it needs the place.
        first = (str(err).splitlines() or [""])[0]
        said = f"unforeseen {type(err).__name__}: {first}; UNITSCOPE_TRACEBACK=1 shows where"
        status = 3
    if os.environ.get("UNITSCOPE_TRACEBACK"):
        traceback.print_exception(err)
    with suppress(OSError):
        if getattr(given, "json", False):
            print(strict_json({"error": said}), flush=True)
        print(f"error: {printable(said)}", file=sys.stderr, flush=True)
    return status


def parser(prog: str = PROG, epilog: str | None = None) -> Parser:
    """The parser of all verbs."""
    top = Parser(prog=prog, description="Unitscope: dissect image classifiers.", epilog=epilog)
    top.add_argument("--version", action="version", version=f"Unitscope {__version__}")
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, do: Callable[[argparse.Namespace], Answer], text: str) -> Parser:
        sub = verbs.add_parser(name, help=text, description=text)
        for flag in SHARED:
            sub.add_argument(flag, action="store_true")
        sub.set_defaults(verb=do)
        return sub

    for heading, modules in VERBS.items():
        before = len(verbs.choices)
        for module in modules:
            module.add(verb)
        top.groups[heading] = list(verbs.choices)[before:]
    return top
