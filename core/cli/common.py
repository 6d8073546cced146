"""What the verbs share: how an answer is said, options that several take, progress."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.parser import SHARED
from core.foundation.engine import ENGINES, Crew
from core.foundation.errors import UnitscopeError
from core.foundation.names import printable
from core.foundation.plain import Json
from core.foundation.settings import CACHE

if TYPE_CHECKING:  # what needs pandas or PyTorch is imported once a verb runs
    from core.figures.printed import Printed
    from core.runs.run_file import Run

Answer = tuple[Json, str]
"""What a verb says: the object for --json, and the same for people."""

Verb = Callable[[str, Callable[[argparse.Namespace], Answer], str], argparse.ArgumentParser]
"""(name, what does it, help) → the parser of a new verb, for its options."""


def add_run(sub: argparse.ArgumentParser, several: bool = False) -> None:
    """The run a verb works on."""
    text = "digest, the beginning of one, its name, or `latest`"
    if several:
        sub.add_argument("run", nargs="+", help="digests, beginnings of them, names, or `latest`")
    else:
        sub.add_argument("run", help=text)


def add_word(words: Any, name: str, do: Any, text: str) -> argparse.ArgumentParser:
    """One word of a verb that has several, such as `check` of `datasets`."""
    sub: argparse.ArgumentParser = words.add_parser(name, help=text, description=text)
    # Suppressed, so that they do not take back what stands before the word.
    for flag in SHARED:
        sub.add_argument(flag, action="store_true", default=argparse.SUPPRESS)
    sub.set_defaults(verb=do)
    return sub


def open_run(name: str, out: Path) -> Run:
    """A run by its digest, the beginning of one, or ``latest``, in a folder of runs."""
    from core.runs.run_file import Run
    from core.runs.store import find_run

    return Run(find_run(name, out))


def open_given(given: argparse.Namespace) -> Run:
    """The run that the command line names."""
    return open_run(given.run, given.out)


def add_knowledge(sub: argparse.ArgumentParser) -> None:
    """The graph, the user's own alignment with it, and where the runs are."""
    sub.add_argument(
        "--knowledge", metavar="SPEC", help="see `knowledge`; the run's own where left out"
    )
    sub.add_argument(
        "--overrides", type=Path, metavar="FILE", help="names and nodes, as `align --write` gives"
    )
    sub.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")


def add_printed(sub: argparse.ArgumentParser) -> None:
    """The size of a figure for a paper; :func:`printed_of` reads it."""
    sub.add_argument(
        "--inches",
        type=real(),
        help="for a paper: this wide (3.3 or 7, say), without title, a caption beside it",
    )
    sub.add_argument("--points", type=real(), help="height of its letters; 8 where left out")


def printed_of(given: argparse.Namespace) -> Printed | None:
    """How figures are to be printed, None as on the screen. Raises UnitscopeError for a size that
    no page has."""
    if given.inches is None:
        if given.points is not None:
            raise UnitscopeError(
                "--points is of figures for a paper: give their width, --inches 3.3"
            )
        return None
    from core.figures.printed import Printed

    return Printed(given.inches) if given.points is None else Printed(given.inches, given.points)


def add_engine(sub: argparse.ArgumentParser, what: str, each: str) -> None:
    """Who does the work: this process, or workers. what : they make. each : what one has."""
    sub.add_argument(
        "--engine",
        default="here",
        choices=list(ENGINES),
        help=f"who makes {what}: " + "; ".join(f"{k}, {v}" for k, v in ENGINES.items()),
    )
    sub.add_argument(
        "--workers",
        type=whole(1),
        metavar="N",
        help=f"of --engine ray, each with {each}; as many as fit where left out",
    )


def crew_of(given: argparse.Namespace) -> Crew | None:
    """The workers that the command line asks for; None where this process does the work.

    Raises UnitscopeError for workers without an engine that has any.
    """
    if given.engine == "here":
        if given.workers:
            raise UnitscopeError("--workers are those of --engine ray: give it, too")
        return None
    return Crew(
        given.workers,
        getattr(given, "threads", None),
        getattr(given, "shards_at", None),
        lambda text: say(f"note: {text}"),
    )


MOST_NUMBERS = 100_000
"""Numbers that a list on the command line may stand for."""


def whole(low: int = 0, high: int = 2**63 - 1) -> Callable[[str], int]:
    """A whole number of the command line, from `low` to `high`.

    >>> whole(1, 9)("4")
    4
    """

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not low <= number <= high:
            bounds = f"{low} or more" if high == 2**63 - 1 else f"{low} to {high}"
            raise argparse.ArgumentTypeError(f"{number} is out of range: {bounds}")
        return number

    return read


def real(low: float = -1e30, high: float = 1e30) -> Callable[[str], float]:
    """A finite number of the command line, from `low` to `high`."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not low <= number <= high:
            bounds = "finite" if low == -1e30 else f"{low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: {bounds}")
        return number

    return read


SEED, THREADS, COUNT = whole(0, 2**32 - 1), whole(1, 1024), whole(1)
"""Types of the options that several verbs have."""


def numbers(text: str | None) -> list[int] | None:
    """Numbers and ranges of them, parted by commas; None where nothing was given.

    Raises UnitscopeError for anything else.

    >>> numbers("5, 10-12"), numbers(None)
    ([5, 10, 11, 12], None)
    """
    if text is None:
        return None
    out: list[int] = []
    try:
        for part in text.split(","):
            low, _, high = part.partition("-")
            span = range(int(low), int(high or low) + 1)
            if len(span) + len(out) > MOST_NUMBERS:
                raise UnitscopeError(f"{text!r} are more than {MOST_NUMBERS:,} numbers")
            out += span
    except (ValueError, OverflowError):
        out = []
    if not out:
        raise UnitscopeError(f"{text!r} is no list of numbers; write 30, or 160-185, or 5,10,20")
    return out


def say_kinds(kinds: list[tuple[str, str, str]]) -> Answer:
    """A table of SPECs: kind, form, what it is."""
    rows = [{"kind": kind, "form": form, "what": what} for kind, form, what in kinds]
    width = max(len(row["form"]) for row in rows)
    return {"kinds": rows}, "\n".join(f"{row['form']:{width}}  {row['what']}" for row in rows)


def say(text: str) -> None:
    """A line beside the answer, on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


_last_shown = [0.0]


def show_progress(progress: Any) -> None:
    """One line that is written over at a terminal; one each ten seconds elsewhere."""
    now = time.monotonic()
    whole = progress.done == progress.total
    if sys.stderr.isatty():
        if whole or now - _last_shown[0] > 0.2:
            _last_shown[0] = now
            print(
                f"\r\033[K{printable(str(progress))}",
                end="\n" if whole else "",
                file=sys.stderr,
                flush=True,
            )
    elif whole or now - _last_shown[0] > 10:
        _last_shown[0] = now
        say(str(progress))


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM only ask the work to stop; yields what tells whether they did."""
    stop: list[int] = []
    before = {
        signum: signal.signal(signum, lambda signum, _frame: stop.append(signum))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(stop)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
