"""Errors that say what was wrong, what exists instead and what to do.

Every error a user can cause derives from :class:`UnitscopeError`; the command
line prints its message alone, without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class UnitscopeError(Exception):
    """A mistake in the input, reported in one message that a user can act on."""


class BadFile(UnitscopeError):
    """One photo, mask or table that cannot be used; carries the file and the reason.

    >>> str(BadFile("photos/7.jpg", "is empty (0 bytes)"))
    'photos/7.jpg: is empty (0 bytes)'
    """

    def __init__(self, path: object, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


class Damaged(UnitscopeError):
    """A finished run whose files are missing, cut short, or not what they should be."""


class NoEffect(UnitscopeError):
    """An input was read that cannot change anything: it is hardly what was meant."""


_ALLOWED: ContextVar[Callable[[str], object] | None] = ContextVar("allowed", default=None)


@contextmanager
def allow_empty(tell: Callable[[str], object]) -> Iterator[None]:
    """Within it, inputs without effect are reported to `tell` and raise nothing
    (``--allow-empty``).

    >>> with allow_empty(print):
    ...     without_effect("no name is a node")
    no name is a node
    """
    token = _ALLOWED.set(tell)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def without_effect(why: str) -> None:
    """Say that an input cannot change anything. Raises :class:`NoEffect` unless within
    :func:`allow_empty`."""
    tell = _ALLOWED.get()
    if tell is None:
        raise NoEffect(f"{why}. --allow-empty continues with a note")
    tell(why)


def first_line(err: BaseException, otherwise: str = "") -> str:
    """The first line of an error of another package, without the advice that follows it.

    otherwise : what stands for an error that says nothing; its class where empty.

    >>> first_line(ValueError("no\\nhint: yes")), first_line(MemoryError())
    ('no', 'MemoryError')
    """
    return (str(err).strip().splitlines() or [otherwise or type(err).__name__])[0]


def nearest(name: str, options: Iterable[str], count: int = 5) -> list[str]:
    """The options most like `name`, best first (case and separators ignored).

    >>> nearest("layer_4", ["conv1", "layer4", "fc"])
    ['layer4']
    """

    def plain(text: str) -> str:
        return "".join(ch for ch in text.lower() if ch.isalnum())

    pool: dict[str, list[str]] = {}
    for option in options:
        pool.setdefault(plain(option), []).append(option)
    hits = difflib.get_close_matches(plain(name), list(pool), n=count, cutoff=0.5)
    return [option for hit in hits for option in pool[hit]][:count]


def unknown(kind: str, name: str, options: Iterable[str], show: int = 8) -> UnitscopeError:
    """An error for a name that does not exist: the nearest names, or the first few that do.

    >>> print(unknown("layer", "layer5", ["conv1", "layer3", "layer4"]))
    unknown layer 'layer5'; nearest: layer4, layer3 (of 3)
    """
    options = list(options)
    near = nearest(name, options)
    if near:
        hint = f"nearest: {', '.join(near)} (of {len(options)})"
    elif options:
        rest = f", … ({len(options)} in all)" if len(options) > show else ""
        hint = f"known: {', '.join(options[:show])}{rest}"
    else:
        hint = "none exist here"
    return UnitscopeError(f"unknown {kind} {name!r}; {hint}")
