"""Terms of the glossary in texts of pages: the first of each is a link to the page Glossary."""

from __future__ import annotations

import re
from functools import cache

from core.foundation.glossary import GLOSSARY, Entry
from pages.parts import address

# What is no running text: code, TeX, links, icons and colours of Streamlit's Markdown.
_KEPT = re.compile(
    r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$|\[[^\]]*\]\([^)]*\)|:[\w-]+/[\w-]+:|:[a-z]+\[)",
    re.S,
)


@cache
def _words() -> tuple[re.Pattern[str], dict[str, Entry]]:
    """What finds any spelling, the longest first, and spelling → entry."""
    by: dict[str, Entry] = {}
    for entry in GLOSSARY:
        for word in entry.spellings if entry.linked else ():
            by.setdefault(_key(word), entry)
    longest = sorted(by, key=len, reverse=True)
    # Capitals are part of an acronym (SM is not sm); of other words the first letter is either.
    either = [
        re.escape(w) if not w[:1].islower() else f"[{w[0]}{w[0].upper()}]{re.escape(w[1:])}"
        for w in longest
    ]
    return re.compile(rf"(?<![\w‑-])({'|'.join(either)})(s?)(?![\w‑-])"), by


def _key(word: str) -> str:
    return word[:1].lower() + word[1:] if word[1:2].islower() or len(word) == 1 else word


def linked(text: str) -> str:
    """Markdown in which the first use of each term of the glossary leads to the glossary."""
    pattern, by = _words()
    done: set[str] = set()

    def link(match: re.Match[str]) -> str:
        entry = by[_key(match[1])]
        if entry.slug in done:
            return match[0]
        done.add(entry.slug)
        return f"[{match[0]}](Glossary{address.query(address.kept(term=entry.slug))})"

    parts = _KEPT.split(text)
    return "".join(part if k % 2 else pattern.sub(link, part) for k, part in enumerate(parts))
