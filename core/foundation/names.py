"""Names as people, datasets and networks write them, brought to one spelling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.foundation.errors import UnitscopeError

if TYPE_CHECKING:  # names alone need no numpy
    import numpy as np

_HIDDEN = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"
)
_NAME, _TEXT = re.compile(f"[{_HIDDEN}]"), re.compile(rf"(?![\t\n\r])[{_HIDDEN}]")
HIDDEN = re.compile(rf"(?![\t\n])[{_HIDDEN}]")
"""What no output may contain: every control character but tab and newline."""


def whole(text: str) -> int | None:
    """The number that plain digits are, 18 at most, blanks around them aside; None for else.

    ``str.isdigit`` says yes to "²", which is no number to ``int``, which refuses 5,000 digits too.

    >>> whole(" 17 "), whole("²"), whole("-1"), whole("9" * 5000)
    (17, None, None, None)
    """
    return int(text) if re.fullmatch(r"\s*[0-9]{1,18}\s*", text, re.ASCII) else None


def check_words(words: Sequence[object]) -> None:
    """Raise UnitscopeError where a word of a command line holds the character NUL: no file is named
    so, and no process can be given it."""
    for word in words:
        if "\0" in str(word):
            raise UnitscopeError(
                f"{printable(str(word))!r} holds the character NUL, which no name has: leave it out"
            )


def readable(name: str, lines: bool = False) -> str:
    """A name or text as it may be shown anywhere, and compared: composed (Unicode's NFC), with
    characters that control a terminal or the direction of writing, and bytes of file names that
    are no text, written out.

    All that comes from files goes through this once, where it is read: a Mac's zip writes file
    names decomposed, and two spellings of "Küche" are one name.

    Parameters
    ----------
    lines : a text: its tabs and ends of lines stay.

    >>> readable("bed\\x1b[2J"), readable("Ku\\u0308che") == "K\\u00fcche"
    ('bed\\\\x1b[2J', True)
    """
    if name.isascii() and name.isprintable():
        return name
    return (_TEXT if lines else _NAME).sub(_written_out, unicodedata.normalize("NFC", name))


def printable(text: str) -> str:
    """Text for output, with every control character but tab and newline written out.

    >>> print(printable("bed\x1b[2J"))
    bed\\x1b[2J
    """
    return HIDDEN.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # Python's stand-in for a byte that is no text
        code -= 0xDC00
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(
        code, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    )


def plain_name(name: str) -> str:
    """Lower case, separators as spaces, Places365's leading ``/d/`` dropped.

    >>> plain_name("/d/dining_room"), plain_name("arena-hockey"), plain_name("/a/arena/hockey")
    ('dining room', 'arena hockey', 'arena hockey')
    """
    name = re.sub(r"^/[a-z]/", "", readable(name.strip()).lower())
    return re.sub(r"[\s_/-]+", " ", name).strip()


def with_source(name: str, labels_by: str) -> str:
    """A dataset's name as figures and tables state it: where no people made its labels, with
    whose predictions they are.

    >>> with_source("street", "segformer"), with_source("nyuv2", "")
    ('street (labels predicted by segformer)', 'nyuv2')
    """
    return f"{name} (labels predicted by {labels_by})" if labels_by else name


def match_names(names: Sequence[str], options: Sequence[str]) -> np.ndarray:
    """Position in `options` of each name, by :func:`plain_name`; −1 where there is none.

    The first of several options with one plain spelling wins. Returns int32 (len(names),).

    >>> match_names(["living_room", "moon"], ["/b/bedroom", "/l/living_room"])
    array([ 1, -1], dtype=int32)
    """
    where: dict[str, int] = {}
    for k, option in enumerate(options):
        where.setdefault(plain_name(option), k)
    import numpy as np

    return np.array([where.get(plain_name(name), -1) for name in names], np.int32)


def ordinal(number: int) -> str:
    """A rank as people say it.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd', '113th']
    """
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def place(rank: int, ranks: Sequence[int]) -> str:
    """A rank among those of all scenes, as people say it: a rank that is shared says by how many.

    >>> place(2, [1, 2, 3]), place(2, [1, 2, 2, 2]), place(1, [1, 1, 1])
    ('2nd of 3', '2nd of 4 with 2 others', 'the same for all 3')
    """
    count, others = len(ranks), list(ranks).count(rank) - 1
    if count > 1 and others == count - 1:
        return f"the same for all {count}"
    shared = f" with {others} other{'s' * (others > 1)}" if others else ""
    return f"{ordinal(rank)} of {count}{shared}"


def few(names: Sequence[str], count: int = 4) -> str:
    """The first few of some names, and how many more there are."""
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest
